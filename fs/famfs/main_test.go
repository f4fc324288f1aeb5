package famfs_test

import (
	"os"
	"testing"
)

// TestMain runs this binary as a reader of TestWriterAndReaders if the environment says so.
func TestMain(m *testing.M) {
	if image := os.Getenv(readerEnv); image != "" {
		os.Exit(readerProcess(image))
	}
	os.Exit(m.Run())
}
