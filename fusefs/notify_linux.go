package fusefs

import (
	"context"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"godax/vfs"
)

var _ vfs.Watcher = (*fileSystem)(nil)

// NodeChanged implements [vfs.Watcher]: the kernel drops what it has of the inode.
func (f *fileSystem) NodeChanged(n *vfs.Node, off, length int64) {
	k := f.nodes.get(f.nodeID(n.Ino()))
	if k == nil || f.server == nil {
		return
	}
	sized := length != 0
	switch {
	case length == 0 && n.IsDir():
		off = 0 // its listing is bytes to the kernel
	case length == 0:
		off = -1 // attributes only
	case length < 0:
		length = 0 // to the end
	}
	f.server.InodeNotify(k.id, off, length) // ENOENT: the kernel knows it no more
	if sized && !f.askSize(k) {
		f.tellEnd(k)
	}
}

// fileidIno64 is the type of the file handles of FUSE (FILEID_INO64_GEN in linux/exportfs.h).
const fileidIno64 = 0x81

// askSize makes the kernel ask for the size of a file. It forgets attributes when it is told to, but
// where it does not ask for them goes on with the size that it knew: at the end of
// the file for O_APPEND, in faults of its mappings, and when it writes pages back.
// Somebody has to call stat(2); that is us, by way of a file handle, as there may be no
// path. It reports whether it could: it takes CAP_DAC_READ_SEARCH.
func (f *fileSystem) askSize(k *node) bool {
	if f.dir == "" {
		return false
	}
	fd, err := unix.Open(f.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	id := binary.NativeEndian.AppendUint32(nil, uint32(k.id>>32))
	id = binary.NativeEndian.AppendUint32(id, uint32(k.id))
	id = binary.NativeEndian.AppendUint32(id, 0) // generation
	file, err := unix.OpenByHandleAt(fd, unix.NewFileHandle(fileidIno64, id), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return err == unix.ESTALE // the kernel knows it no more
	}
	defer unix.Close(file)
	var st unix.Statx_t
	return unix.Statx(file, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE, &st) == nil
}

// tellEnd makes sure at least that the kernel does not take the file for shorter than it is: a
// byte stored in its cache moves the end.
func (f *fileSystem) tellEnd(k *node) {
	var last [1]byte
	size := k.Attr().Size
	if size == 0 {
		return
	}
	if n, err := k.ReadAt(context.Background(), last[:], size-1); n == 1 && err == nil {
		f.server.InodeNotifyStoreCache(k.id, size-1, last[:])
	}
}

// EntryChanged implements [vfs.Watcher]: the kernel drops the name, whether it knows that
// something is there or that nothing is.
func (f *fileSystem) EntryChanged(dir *vfs.Node, name string) {
	if k := f.nodes.get(f.nodeID(dir.Ino())); k != nil && f.server != nil {
		f.server.EntryNotify(k.id, name)
	}
}

// held prepares an answer about a file that this process may store to unseen, through a view or
// a pin, and reports whether it is one. Then the kernel may not keep the attributes, so it
// asks again at every read(2), and as the time of modification is another one with each
// answer, it drops the bytes that it has.
func (f *fileSystem) held(n *vfs.Node, a *vfs.Attr) bool {
	if f.o.Cache != CacheShared || n.File() == nil || !n.Held() {
		return false
	}
	now := time.Now().UnixNano()
	for {
		last := f.lastTime.Load()
		now = max(now, last+1)
		if f.lastTime.CompareAndSwap(last, now) {
			a.Mtime = time.Unix(0, now)
			return true
		}
	}
}
