package daxtest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestAddHugePages: changes at the same time do not undo each other.
func TestAddHugePages(t *testing.T) {
	control := filepath.Join(t.TempDir(), "number")
	if err := os.WriteFile(control, []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if got, err := AddHugePages(control, 3); err != nil || got != 3 {
					t.Errorf("3 more: %d, %v", got, err)
				}
				if got, err := AddHugePages(control, -2); err != nil || got != -2 {
					t.Errorf("2 less: %d, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if n, err := readNumber(control); err != nil || n != 7+8*50 {
		t.Errorf("%d, %v; want %d", n, err, 7+8*50)
	}
}
