package axfs_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"godax"
	"godax/fs/axfs"
	"godax/internal/daxtest"
	"godax/pmem"
)

// TestHugePages: where the image is on huge pages, and laid out for them, the kernel maps
// a view of an XIP file in pages of 2 MiB.
func TestHugePages(t *testing.T) {
	const size = 64 * mib
	data := bytes.Repeat(fill(mib, 1), size/mib)
	img := axfs.TestImage{Align: 2 * mib}.Build(t, axfs.TestFile{Path: "big", Data: data, Kinds: "X"})
	for name, device := range map[string]func(t *testing.T) pmem.Device{
		"tmpfs": func(t *testing.T) pmem.Device {
			path := filepath.Join(daxtest.HugeTmpfs(t, int64(len(img))+8*mib), "image")
			must(t, os.WriteFile(path, img, 0o600))
			return daxtest.OpenImage(t, path)
		},
		"hugetlb": func(t *testing.T) pmem.Device {
			room := (int64(len(img)) + 2*mib - 1) &^ (2*mib - 1)
			daxtest.ReserveHugePages(t, room)
			dev, err := pmem.NewMemory(room, pmem.MemoryOptions{HugePages: true})
			must(t, err)
			t.Cleanup(func() { must(t, dev.Close()) })
			copy(daxtest.DeviceBytes(t, dev), img)
			return dev
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, err := godax.OpenDevice(device(t), godax.Options{ReadOnly: true})
			must(t, err)
			t.Cleanup(func() { must(t, fsys.Close()) })
			m := mapFile(t, openFile(t, fsys, "big"), size, godax.MapShared)
			if !bytes.Equal(m.Bytes(), data) {
				t.Error("the view shows something else")
			}
			got, err := daxtest.HugeMapped(m.Bytes())
			if err != nil || got != size {
				t.Errorf("%d bytes are mapped in pages of 2 MiB, want %d: %v", got, size, err)
			}
		})
	}
}

// fields sums fields of smaps, in bytes, over the mappings that lie in b.
func fields(t *testing.T, b []byte, names ...string) map[string]int64 {
	t.Helper()
	return fieldsOf(t, os.Getpid(), address(b), address(b)+uint64(len(b)), names...)
}

// address is where a slice begins.
func address(b []byte) uint64 { return uint64(reflect.ValueOf(b).Pointer()) }

// fieldsOf is fields of the addresses from from to to of a process.
func fieldsOf(t *testing.T, pid int, from, to uint64, names ...string) map[string]int64 {
	t.Helper()
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	must(t, err)
	sums := map[string]int64{}
	inside := false
	for lines := bufio.NewScanner(bytes.NewReader(smaps)); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasSuffix(word, ":") {
			var start, end uint64
			_, err := fmt.Sscanf(word, "%x-%x", &start, &end)
			must(t, err)
			inside = start >= from && end <= to
			continue
		}
		for _, name := range names {
			if inside && word == name+":" {
				kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				must(t, err)
				sums[name] += kb << 10
			}
		}
	}
	return sums
}

// status is a field of this process's status, in bytes.
func status(t *testing.T, field string) int64 {
	t.Helper()
	return statusOf(t, "self", field)
}

// statusOf is status of a process.
func statusOf(t *testing.T, pid, field string) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/status")
	must(t, err)
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must(t, err)
			return kb << 10
		}
	}
	t.Fatalf("no %s", field)
	return 0
}

// TestViewsShareMemory: many views of one image, of direct and of cached pages, have no
// memory but page tables. Each page of memory counts in parts in the mappings that have it
// (Pss), so that all of them together, that of the device as well, are the file once.
func TestViewsShareMemory(t *testing.T) {
	const size, views = 4 * mib, 6
	for _, kind := range []string{"X", "C"} {
		data := bytes.Repeat(text(mib, 1), size/mib)
		img := axfs.TestImage{}.Build(t, axfs.TestFile{Path: "f", Data: data, Kinds: kind}, axfs.TestFile{Path: "g", Same: "f"})
		fsys, f, _ := openBytes(t, godax.Options{CacheBytes: 2 * size}, img)
		files := []*godax.File{openFile(t, fsys, "f"), openFile(t, fsys, "g")}
		var frames uint64
		var tables, rss int64
		for n := 1; n <= views; n++ {
			m := mapFile(t, files[n%2], size, godax.MapShared)
			if !bytes.Equal(m.Bytes(), data) {
				t.Fatal("a view shows something else")
			}
			got := fields(t, m.Bytes(), "Rss", "Pss", "Anonymous", "Private_Dirty", "Private_Clean")
			if got["Rss"] != size || got["Anonymous"] != 0 || got["Private_Dirty"]+got["Private_Clean"] != 0 {
				t.Errorf("%s, view %d: %v; want %d bytes, none of them the view's alone", kind, n, got, size)
			}
			// Every page is in n views, and where it was filled: in the device's mapping, or
			// that of the store of cached pages.
			if most := int64(size/(n+1) + size/64); got["Pss"] > most {
				t.Errorf("%s, view %d: its part is %d bytes, at most %d", kind, n, got["Pss"], most)
			}
			switch n {
			case 1:
				frames = f.CachedFrames()
			case 2:
				tables, rss = status(t, "VmPTE"), status(t, "RssAnon")
			case views:
				perView := (status(t, "VmPTE") - tables) / (views - 2)
				t.Logf("%s: page tables of a view of %d MiB: %d KiB; anonymous memory grew by %d KiB with %d views",
					kind, size/mib, perView>>10, (status(t, "RssAnon")-rss)>>10, views-2)
			}
			if f.CachedFrames() != frames {
				t.Errorf("%s, view %d: %d cached pages, %d with the first", kind, n, f.CachedFrames(), frames)
			}
		}
		if kind == "X" && frames != 0 {
			t.Errorf("%d pages of an XIP file were copied", frames)
		}
	}
}
