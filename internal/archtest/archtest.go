// Package archtest holds the test that enforces the architecture: which package
// may import which (the table of docs/architecture.md), where unsafe is allowed,
// and that no cgo is used.
package archtest
