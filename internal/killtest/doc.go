// Package killtest kills writers. A child process changes an image through the public
// API, and says in advance what it is about to change and afterwards what it has
// made durable. It is killed at a random moment; what it leaves must be repaired by
// e2fsck -p without a question, and every file that was closed after Sync must be there, whole.
//
// A round is given by its number:
//
//	go test ./internal/killtest -run Kill -rounds 200 -first 1
//
// Other children map the memory of an image themselves and store to a file beside its views and
// writes.
//
// The package has tests only.
package killtest
