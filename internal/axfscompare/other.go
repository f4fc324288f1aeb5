//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "axfscompare: only on Linux")
	os.Exit(1)
}
