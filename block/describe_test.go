package block

import (
	"reflect"
	"testing"

	"godax/pmem"
)

// TestC6_DescriptionsOnlyDescribe: what a file system hands over about an extent has nothing in
// it that could be called, but the device.
//
// Guards C6, T78.
func TestC6_DescriptionsOnlyDescribe(t *testing.T) {
	device := reflect.TypeFor[pmem.Device]()
	seen := map[reflect.Type]bool{}
	var visit func(name string, typ reflect.Type)
	visit = func(name string, typ reflect.Type) {
		if seen[typ] || typ == device {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Func, reflect.Interface, reflect.Chan, reflect.UnsafePointer:
			t.Errorf("%s is of type %v", name, typ)
		case reflect.Pointer, reflect.Slice, reflect.Array:
			visit(name, typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				visit(name+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Extent](), reflect.TypeFor[Iomap](), reflect.TypeFor[BufferHead]()} {
		visit(typ.Name(), typ)
	}
}
