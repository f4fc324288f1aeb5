// Package axfs is the driver of AXFS, the Advanced XIP File System: an image that is
// built at once and only read, whose files have some pages that can be mapped where they
// are, and others that are compressed.
package axfs
