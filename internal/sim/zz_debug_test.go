package sim_test

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/cinnabar-quic/cinnabar/internal/sim"
)

func TestZZ(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("ZZ"), 10, 64)
	r, err := try(seed)
	fmt.Println(err)
	for _, end := range []*sim.Endpoint{r.client, r.server} {
		for _, s := range end.Sessions {
			v := reflect.ValueOf(s.Conn).Elem()
			fmt.Printf("%s\n flow %+v\n ready %v waiting %v ctl %v\n", s.End.Name, v.FieldByName("flow"), v.FieldByName("streams").FieldByName("ready"), v.FieldByName("streams").FieldByName("waiting"), v.FieldByName("streams").FieldByName("ctl"))
			it := v.FieldByName("streams").FieldByName("table").MapRange()
			for it.Next() {
				st := it.Value().Elem()
				for _, f := range []string{"id", "queue", "control", "starved", "maxData", "blocked", "window", "send"} {
					fmt.Printf("   %s %+v", f, st.FieldByName(f))
				}
				fmt.Println()
			}
			l := v.FieldByName("loss")
			for _, f := range []string{"inFlight", "ptoCount", "controller", "pacer", "idleFrom", "rtt", "blocked", "appLimited"} {
				fmt.Printf("   %s %+v", f, l.FieldByName(f))
			}
			fmt.Println()
			fmt.Printf("   paths %+v\n   mtu %+v pace %v ids %+v\n", v.FieldByName("paths"), v.FieldByName("mtu"), v.FieldByName("paceUntil"), v.FieldByName("ids"))
		}
	}
}
