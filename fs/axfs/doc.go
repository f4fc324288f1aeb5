// Package axfs is the driver of AXFS, the Advanced XIP File System: an image that is
// built at once and only read, whose files have some pages that can be mapped where they
// are, and others that are compressed, page by page as its builder liked.
//
// # Pages
//
// Each page of a file is a node of one of three kinds. XIP nodes are whole pages of the
// image, and their frames are the image's own: populate.go answers with them, as many at
// once as lie side by side. The pages of compressed nodes, and of those that are stored
// at any byte (byte-aligned), are cached pages, copies in memory. A copy is made once for
// all files that have it, and given up when room is needed. It is never handed out as
// the image's own frame.
//
// The last page of a file reaches past its end. What the image has there is not the file's
// (it can be another file's), and must read as zero, also through a mapping. If it is zero
// in the image, an XIP page is mapped all the same; otherwise that one page is a cached copy with
// zeros behind the end.
//
// Reads of byte-aligned pages, and of such last pages, need no copy: the bytes are taken
// where they are.
//
// The page of the image may be larger than ours of 4 KiB. It is taken apart then, and what
// was said is true of each part.
//
// # Two devices
//
// A split image has its first part on memory that can be mapped, and the second on a
// device that is named beside it (MountOptions.Devices). XIP pages are direct in the first part
// only: what lies on the second is meant to be read.
//
// # Numbers
//
// Inode numbers are those of the image plus one, since the root's is 0 there. The place
// of an entry in its directory is its position, so positions stay the same for ever.
// Link counts are 1, all times are the image's.
//
// # Hostile images
//
// Superblock, regions, inodes and names are checked when the image is mounted, nodes and
// compressed blocks when they are used. Tables are used where they lie, so a value may
// have changed since it was checked: it is read once, and checked again, wherever
// something depends on it.
//
// # Locks
//
// After those of vfs and dax, none of them held with another:
//
//	cblockCache.mu   the inflated blocks
//	FS.sharedOnce    held while the shared pages are counted
//	FS.framesOnce    held while the store of cached pages is made
package axfs
