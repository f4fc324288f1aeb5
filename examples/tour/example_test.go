// Package tour is the example of the README: a file of an ext2 file system in memory,
// mapped, changed in place, and made durable.
package tour_test

import (
	"fmt"
	"log"

	"godax"
	"godax/fs/ext"
	"godax/pmem"
)

func Example() {
	// A device made of memory. For an image file or a DAX device: godax.Open(path, ...).
	dev, err := pmem.NewMemory(64<<20, pmem.MemoryOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	if err := ext.Format(dev, ext.FormatOptions{}); err != nil {
		log.Fatal(err)
	}
	fsys, err := godax.OpenDevice(dev, godax.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer fsys.Close()

	// Files work as in package os.
	f, err := fsys.Create("/numbers")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 8<<20)); err != nil {
		log.Fatal(err)
	}

	// Which page frames hold the file?
	for e, err := range f.Extents() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("offset %d: %d bytes, %v\n", e.Off, e.Len, e.Kind)
	}

	// Those frames, in this process.
	m, err := f.Mmap(0, 8<<20, godax.MapRead|godax.MapWrite|godax.MapShared)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	copy(m.Bytes()[5000:], "changed in place")
	if err := m.Sync(); err != nil {
		log.Fatal(err)
	}

	b := make([]byte, 16)
	if _, err := f.ReadAt(b, 5000); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", b)
	// Output:
	// offset 0: 8388608 bytes, direct
	// changed in place
}
