// The toy of docs/write-a-filesystem.md: a complete file system in a few lines, and what
// can be done with it.
package toyfs_test

import (
	"fmt"
	"log"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"godax"
	"godax/pmem"
	"godax/vfs"
)

func Example() {
	dev, err := pmem.NewMemory(16<<20, pmem.MemoryOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	fsys, err := godax.OpenDevice(dev, godax.Options{Drivers: []vfs.Driver{Driver}})
	if err != nil {
		log.Fatal(err)
	}
	defer fsys.Close()

	file, err := fsys.Create("greeting")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	fmt.Fprint(file, "hello, frames")

	m, err := file.Mmap(0, 5, godax.MapRead|godax.MapWrite|godax.MapShared)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	copy(m.Bytes(), "HELLO") // a store to the page frame itself

	text, err := fsys.ReadFile("greeting")
	fmt.Printf("%s %v\n", text, err)
	for e, err := range file.Extents() {
		fmt.Println(e.Off, e.Len, e.Kind, "page", e.PFN.Page(), err)
	}
	// Output:
	// HELLO, frames <nil>
	// 0 4096 direct page 0 <nil>
}

func TestToy(t *testing.T) {
	dev, err := pmem.NewMemory(16<<20, pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	fsys, err := godax.OpenDevice(dev, godax.Options{Drivers: []vfs.Driver{Driver}})
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	for i := range 8 {
		if err := fsys.WriteFile(fmt.Sprint(i), make([]byte, i*9000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.WriteFile("one too many", nil, 0o644); err == nil {
		t.Error("a ninth file has room")
	}
	if err := fstest.TestFS(fsys.IOFS(), "0", "7"); err != nil {
		t.Error(err)
	}
	if err := fsys.Truncate("7", 2<<20); err != nil {
		t.Error(err)
	}
	f, err := fsys.OpenFile("7", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.WriteAt([]byte("xy"), 2<<20-1); n != 1 || err == nil {
		t.Errorf("write over the end of the slot: %d, %v", n, err)
	}
}

// TestDocument checks that the page shows the code that runs here, and keeps its promise
// about the length.
func TestDocument(t *testing.T) {
	code, err := os.ReadFile("toyfs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/write-a-filesystem.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "```go\n"+string(code)+"```\n") {
		t.Error("docs/write-a-filesystem.md does not show toyfs_test.go as it is")
	}
	lines := 0
	for line := range strings.Lines(string(code)) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	if lines >= 80 {
		t.Errorf("the toy has %d lines", lines)
	}
}
