package ext

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"godax/internal/extfmt"
	"godax/vfs"
)

// symlink is a symbolic link. A target of up to 59 bytes lies in i_block (a fast
// symlink), a longer one in the first block; its length is i_size.
type symlink struct{ *inode }

var (
	_ vfs.Symlink = symlink{}
	_ vfs.Xattrs  = symlink{}
)

// pathMax is the length of the longest path, with its NUL.
const pathMax = 4096

// newSymlink makes a symbolic link of an inode. Errors: vfs.ErrCorrupt for a length that no
// target has.
func newSymlink(in *inode) (vfs.Inode, error) {
	if n := in.size(); n <= 0 || n >= min(in.fs.blockSize(), pathMax) {
		return nil, in.corrupt("i_size", uint64(n), "symbolic link with a length that no target has")
	}
	return symlink{in}, nil
}

// Readlink returns the target.
func (s symlink) Readlink() (string, error) {
	n := s.size()
	var b []byte
	if s.isFastSymlink() {
		b = s.raw[extfmt.InodeBlock:][:extfmt.BlockBytes]
	} else {
		s.mu.RLock()
		r, err := s.bmap.lookup(0, 1)
		s.mu.RUnlock()
		if err != nil {
			return "", err
		}
		if r.pblk == 0 {
			return "", s.corrupt("i_block", 0, "symbolic link without a target")
		}
		if b, err = s.fs.blockView(s.name(), r.pblk); err != nil {
			return "", err
		}
	}
	if n <= 0 || n > int64(len(b)) {
		return "", s.corrupt("i_size", uint64(n), "symbolic link longer than its place")
	}
	target := bytes.Clone(b[:n])
	if i := bytes.IndexByte(target, 0); i >= 0 {
		return "", s.corrupt("i_size", uint64(n), fmt.Sprintf("target of a symbolic link ends at %d", i))
	}
	return string(target), nil
}

// checkTarget checks that a symbolic link can have this target: ENOENT if it is empty,
// ENAMETOOLONG, EINVAL for a NUL.
func (f *FS) checkTarget(target string) error {
	switch {
	case target == "":
		return fmt.Errorf("ext: symbolic link to nothing: %w", fs.ErrNotExist)
	case int64(len(target)) >= min(f.blockSize(), pathMax):
		return syscall.ENAMETOOLONG
	case bytes.IndexByte([]byte(target), 0) >= 0:
		return fmt.Errorf("ext: NUL in the target of a symbolic link: %w", syscall.EINVAL)
	}
	return nil
}

// fillTarget gives a new symbolic link, which nothing leads to yet, its target.
func (in *inode) fillTarget(target string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	st := in.fs.st
	if len(target) < extfmt.BlockBytes {
		if err := st.write(in.off+extfmt.InodeBlock, []byte(target)); err != nil {
			return err
		}
		return in.setSize(int64(len(target)))
	}
	pblk, err := in.allocMeta()
	if err != nil {
		return err
	}
	if err = st.write(in.fs.blockOff(pblk), []byte(target)); err == nil {
		err = in.bmap.attach(0, pblk)
	}
	if err != nil {
		return errors.Join(err, in.fs.freeRun(in.name(), pblk, 1))
	}
	return in.setSize(int64(len(target)))
}
