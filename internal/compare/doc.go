// Package compare has no code but benchmarks: drivers of godax next to readers of other
// formats, on images of one tree made by their own tools. It is a module of its own, so that
// what it compares with is no dependency of godax.
//
//	cd internal/compare && go test -bench . -benchmem
//
// mkfs.erofs and mksquashfs must be installed (Debian: erofs-utils, squashfs-tools).
package compare
