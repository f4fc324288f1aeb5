package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"testing"
)

// testApp is an app for calling parts of commands; both outputs go to w.
func testApp(t testing.TB, w io.Writer) *app {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	sink := &output{w: w, ctx: ctx, cancel: cancel}
	return &app{ctx: ctx, out: bufio.NewWriter(sink), stdout: sink, stderr: w}
}

// toText is v as fmt prints it.
func toText(v any) string { return fmt.Sprint(v) }
