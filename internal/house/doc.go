// Package house holds tests about the code itself: which package may import
// which, what the lower floors may not do, how files look, and what the
// documentation promises. It has no code of its own.
//
// Every rule is a function from parsed files to a list of problems. It runs over
// the whole repository in one test, and over a small bad example in another, so
// that a rule that has stopped finding anything is found out.
package house
