package siege

import (
	"cmp"
	"reflect"
	"slices"
	"unsafe"
)

// Retained returns how many bytes can be reached from a pointer, without what can be reached only by way of
// one of others: those are the test's own, or shared. Each byte counts once, slices with their capacity. Of a map what is in it
// counts, at seven eighths full; functions and channels are not looked into.
func Retained(of any, others ...any) int64 {
	w := walk{seen: map[visit]bool{}, holds: map[reflect.Type]bool{}}
	for _, o := range others {
		v := reflect.ValueOf(o)
		w.seen[visit{v.UnsafePointer(), v.Type()}] = true
	}
	w.value(reflect.ValueOf(of))
	return w.total()
}

// span is a piece of memory.
type span struct{ from, to uintptr }

type visit struct {
	at unsafe.Pointer
	as reflect.Type
}

// walk goes from value to value.
type walk struct {
	seen  map[visit]bool
	holds map[reflect.Type]bool // whether a type has pointers
	spans []span
	maps  int64
}

// total returns the bytes of all spans, which may overlap.
func (w *walk) total() int64 {
	slices.SortFunc(w.spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	n, end := w.maps, uintptr(0)
	for _, s := range w.spans {
		if s.to > end {
			n += int64(s.to - max(s.from, end))
			end = s.to
		}
	}
	return n
}

// enter notes a piece of memory, and reports whether it has to be looked into.
func (w *walk) enter(at unsafe.Pointer, as reflect.Type, size uintptr) bool {
	if at == nil || size == 0 || w.seen[visit{at, as}] {
		return false
	}
	w.seen[visit{at, as}] = true
	w.spans = append(w.spans, span{uintptr(at), uintptr(at) + size})
	return true
}

func (w *walk) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if w.enter(v.UnsafePointer(), v.Type(), v.Type().Elem().Size()) && w.pointers(v.Type().Elem()) {
			w.value(v.Elem())
		}
	case reflect.Interface:
		w.value(v.Elem())
	case reflect.String:
		w.enter(unsafe.Pointer(unsafe.StringData(v.String())), v.Type(), uintptr(v.Len()))
	case reflect.Slice:
		if w.enter(v.UnsafePointer(), v.Type(), uintptr(v.Cap())*v.Type().Elem().Size()) && w.pointers(v.Type().Elem()) {
			for i := range v.Len() {
				w.value(v.Index(i))
			}
		}
	case reflect.Array:
		if w.pointers(v.Type().Elem()) {
			for i := range v.Len() {
				w.value(v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); w.pointers(f.Type()) {
				w.value(f)
			}
		}
	case reflect.Map:
		w.entries(v)
	}
}

// entries looks into a map, which is groups of eight slots and a word.
func (w *walk) entries(v reflect.Value) {
	if at := (visit{v.UnsafePointer(), v.Type()}); v.IsNil() || w.seen[at] {
		return
	} else {
		w.seen[at] = true
	}
	slot := int64(v.Type().Key().Size()+v.Type().Elem().Size()) + 1
	w.maps += 48 + int64(v.Len())*slot*8/7
	for i := v.MapRange(); i.Next(); {
		w.value(i.Key())
		w.value(i.Value())
	}
}

// pointers reports whether a type has pointers in it.
func (w *walk) pointers(t reflect.Type) bool {
	has, ok := w.holds[t]
	if ok {
		return has
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.String, reflect.Slice, reflect.Map:
		has = true
	case reflect.Array:
		has = t.Len() > 0 && w.pointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			has = has || w.pointers(t.Field(i).Type)
		}
	}
	w.holds[t] = has
	return has
}
