// Command axfscompare makes the table of docs/axfs.md: images of one tree of files of
// Debian packages, as AXFS in several ways, squashfs, EROFS and cramfs; their sizes, and
// the memory that one program needs that runs from them.
//
// It must run as root on Debian, with apt-get, dpkg, and where found mksquashfs, mkfs.erofs
// and mkfs.cramfs; what is missing is left out, and said so.
//
//	go run ./internal/axfscompare
//
// # What is measured
//
// The images lie on a tmpfs: that is the medium, whose size is the first column. The
// program (workload) runs by chroot over a mount. Memory is what the machine needs beside
// the image:
//
//   - for file systems of the kernel, the pages in the page cache when the program has
//     ended: of all files of the mount and of the loop device;
//   - for AXFS, a process maps the pages that the program touches, by godax, and touches
//     them. Its resident memory that is not the image's own (Rss of smaps) is what the
//     pages that are not in place take. Memory of the Go runtime is left out, as is that of
//     the kernel's own structures above.
package main
