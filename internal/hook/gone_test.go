package hook_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godax/internal/hook"
)

// TestGone builds the command and looks for the hooks in it: they are there in a debug
// build, and only there.
func TestGone(t *testing.T) {
	names := []string{"At", "Acquire", "Release", "Want", "Block", "Set", "current"}
	for _, tags := range []string{"", "daxdebug"} {
		bin := filepath.Join(t.TempDir(), "godax")
		if out, err := exec.Command("go", "build", "-tags", tags, "-o", bin, "godax/cmd/godax").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.Command("go", "tool", "nm", bin).Output()
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if _, name, ok := strings.Cut(fields[len(fields)-1], "godax/internal/hook."); ok && slices.Contains(names, name) {
				found = append(found, name)
			}
		}
		if debug := tags != ""; (len(found) > 0) != debug {
			t.Errorf("tags %q: the command has the hooks %q", tags, found)
		}
	}
}

// BenchmarkPoint is a pause point beside nothing: the same in a build without hooks.
func BenchmarkPoint(b *testing.B) {
	x := new(int)
	b.Run("none", func(b *testing.B) {
		for b.Loop() {
		}
	})
	b.Run("point", func(b *testing.B) {
		for b.Loop() {
			hook.At(hook.SlotLocked, x, 1)
		}
	})
}
