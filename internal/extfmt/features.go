package extfmt

import (
	"fmt"

	"godax/vfs"
)

// Feature bits that the driver looks at (kernel documentation, filesystems/ext4,
// "Super Block").
const (
	CompatHasJournal  = 0x4
	CompatExtAttr     = 0x8
	CompatResizeInode = 0x10
	CompatDirIndex    = 0x20

	IncompatFiletype = 0x2
	IncompatRecover  = 0x4

	ROCompatSparseSuper = 0x1
	ROCompatLargeFile   = 0x2
	ROCompatHugeFile    = 0x8
	ROCompatBigalloc    = 0x200
)

// SupportedIncompat are the incompatible features that the driver implements.
const SupportedIncompat = IncompatFiletype

// The names are those of e2fsprogs.
var compatNames = map[uint32]string{
	0x1: "dir_prealloc", 0x2: "imagic_inodes", 0x4: "has_journal", 0x8: "ext_attr", 0x10: "resize_inode",
	0x20: "dir_index", 0x40: "lazy_bg", 0x80: "exclude_inode", 0x100: "snapshot_bitmap", 0x200: "sparse_super2", 0x400: "fast_commit",
	0x800: "stable_inodes", 0x1000: "orphan_file",
}

var incompatNames = map[uint32]string{
	0x1: "compression", 0x2: "filetype", 0x4: "needs_recovery", 0x8: "journal_dev", 0x10: "meta_bg", 0x40: "extent",
	0x80: "64bit", 0x100: "mmp", 0x200: "flex_bg", 0x400: "ea_inode", 0x1000: "dirdata", 0x2000: "metadata_csum_seed",
	0x4000: "large_dir", 0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold",
}

var roCompatNames = map[uint32]string{
	0x1: "sparse_super", 0x2: "large_file", 0x4: "btree_dir", 0x8: "huge_file", 0x10: "uninit_bg", 0x20: "dir_nlink",
	0x40: "extra_isize", 0x80: "snapshot", 0x100: "quota", 0x200: "bigalloc", 0x400: "metadata_csum", 0x800: "replica",
	0x1000: "read-only", 0x2000: "project", 0x4000: "shared_blocks", 0x8000: "verity", 0x10000: "orphan_present",
}

// featureNames lists the set bits' names in bit order; unnamed ones as
// FEATURE_<letter><bit>, the way e2fsprogs does.
func featureNames(word uint32, names map[uint32]string, letter string) []string {
	var out []string
	for i := range 32 {
		bit := uint32(1) << i
		if word&bit == 0 {
			continue
		}
		if n, ok := names[bit]; ok {
			out = append(out, n)
		} else {
			out = append(out, fmt.Sprintf("FEATURE_%s%d", letter, i))
		}
	}
	return out
}

// CompatNames, IncompatNames and ROCompatNames name the bits of a feature word.
func CompatNames(w uint32) []string { return featureNames(w, compatNames, "C") }

// IncompatNames names the bits of s_feature_incompat.
func IncompatNames(w uint32) []string { return featureNames(w, incompatNames, "I") }

// ROCompatNames names the bits of s_feature_ro_compat.
func ROCompatNames(w uint32) []string { return featureNames(w, roCompatNames, "R") }

// FeatureNames lists all features of the file system, as dumpe2fs orders them.
func (s *Superblock) FeatureNames() []string {
	return append(append(CompatNames(s.Compat), IncompatNames(s.Incompat)...), ROCompatNames(s.ROCompat)...)
}

func unsupported(feature, reason string) error {
	return &vfs.UnsupportedError{Format: "ext", Feature: feature, Reason: reason}
}
