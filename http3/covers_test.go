package http3

import "testing"

// covers says that the assertion beside it proves a row of the API's acceptance list:
// docs/api-coverage.tsv names the test, and internal/house checks that it says so.
func covers(t testing.TB, id string) {
	t.Helper()
	t.Attr("covers", id)
}
