// Package suites is other people's tests, run on a mount. The script run in this directory
// installs what it can get, runs each suite on images of each block size, and looks at the
// image afterwards: e2fsck finds nothing, and the kernel's own file system shows the same
// files. make suites runs them all.
package suites
