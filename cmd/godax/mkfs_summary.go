package main

import (
	"fmt"

	"godax/fs/axfs/build"
)

// axfsSummary is what mkfs axfs tells of the image that it made. Sizes are in bytes.
type axfsSummary struct {
	Image       string      `json:"image"`
	Second      string      `json:"second,omitempty"`
	PageSize    int         `json:"page_size"`
	BlockSize   int         `json:"block_size"`
	Files       uint64      `json:"files"`
	Directories uint64      `json:"directories"`
	Symlinks    uint64      `json:"symlinks"`
	Specials    uint64      `json:"specials"`
	InputBytes  uint64      `json:"input_bytes"`
	ImageBytes  uint64      `json:"image_bytes"`
	MappedBytes uint64      `json:"mapped_bytes"`
	Regions     axfsRegions `json:"regions"`
	Pages       axfsPages   `json:"pages"`
	Dedup       axfsDedup   `json:"dedup"`
	XIP         axfsXIPRuns `json:"xip"`
	Blocks      uint64      `json:"compressed_blocks"`
}

// axfsRegions are the sizes of the regions.
type axfsRegions struct {
	XIP         uint64 `json:"xip"`
	Compressed  uint64 `json:"compressed"`
	ByteAligned uint64 `json:"byte_aligned"`
	Tables      uint64 `json:"tables"`
	Strings     uint64 `json:"strings"`
}

// axfsPages counts the pages of files, each file of the same contents once.
type axfsPages struct {
	All         uint64 `json:"all"`
	XIP         uint64 `json:"xip"`
	Compressed  uint64 `json:"compressed"`
	ByteAligned uint64 `json:"byte_aligned"`
}

// axfsDedup counts what was stored already.
type axfsDedup struct {
	Files     uint64 `json:"files"`
	FileBytes uint64 `json:"file_bytes"`
	Pages     uint64 `json:"pages"`
	PageBytes uint64 `json:"page_bytes"`
	Zeros     uint64 `json:"zero_pages"`
}

// axfsXIPRuns tells how the stored pages in place lie.
type axfsXIPRuns struct {
	Pages  uint64 `json:"pages"`
	Runs   uint64 `json:"runs"`
	Huge   uint64 `json:"pages_in_2m"`
	Medium uint64 `json:"pages_in_64k"`
	Empty  uint64 `json:"padding_pages"`
}

func newAxfsSummary(out string, o axfsOptions, s *build.Stats) axfsSummary {
	sum := axfsSummary{
		Image: jsonName(out), PageSize: int(o.page), BlockSize: int(o.block),
		Files: s.Files, Directories: s.Dirs, Symlinks: s.Symlinks, Specials: s.Others,
		InputBytes: s.InputBytes, ImageBytes: s.ImageBytes, MappedBytes: s.MappedBytes,
		Regions: axfsRegions{s.XIPBytes, s.CompBytes, s.ByteAlignedBytes, s.TableBytes, s.StringsBytes},
		Pages:   axfsPages{s.Nodes, s.XIPNodes, s.CompressedNodes, s.ByteNodes},
		Dedup:   axfsDedup{s.DupFiles, s.DupFileBytes, s.DupPages, s.DupPageBytes, s.ZeroPages},
		XIP:     axfsXIPRuns{s.XIPPages, s.XIPRuns, s.Huge, s.Medium, s.XIPPadding},
		Blocks:  s.Blocks,
	}
	if sum.BlockSize == 0 {
		sum.BlockSize = sum.PageSize
	}
	if o.second != "" {
		sum.Second = jsonName(o.second)
	}
	return sum
}

// printAxfsSummary prints the summary as text.
func (a *app) printAxfsSummary(s axfsSummary) {
	size := func(n uint64) string { return formatSize(int64(n)) }
	parts := ""
	if s.Second != "" {
		parts = fmt.Sprintf(" (%s mapped, %s in %s)", size(s.MappedBytes), size(s.ImageBytes-s.MappedBytes), a.shown(s.Second))
	}
	fmt.Fprintf(a.out, "%s: axfs, %s%s of %s in %d files, pages of %d, blocks of %d\n",
		a.shown(s.Image), size(s.ImageBytes), parts, size(s.InputBytes), s.Files, s.PageSize, s.BlockSize)
	fmt.Fprintf(a.out, "in place      %8d pages  %10s  in %d runs; %d in 2 MiB, %d in 64 KiB pages, %d between them empty\n",
		s.Pages.XIP, size(s.Regions.XIP), s.XIP.Runs, s.XIP.Huge, s.XIP.Medium, s.XIP.Empty)
	fmt.Fprintf(a.out, "compressed    %8d pages  %10s  in %d blocks\n", s.Pages.Compressed, size(s.Regions.Compressed), s.Blocks)
	fmt.Fprintf(a.out, "byte aligned  %8d pages  %10s\n", s.Pages.ByteAligned, size(s.Regions.ByteAligned))
	fmt.Fprintf(a.out, "tables, names %8d files  %10s\n", s.Files+s.Directories+s.Symlinks+s.Specials, size(s.Regions.Tables+s.Regions.Strings))
	fmt.Fprintf(a.out, "stored once   %8d pages  %10s  and %d files, %s\n", s.Dedup.Pages, size(s.Dedup.PageBytes), s.Dedup.Files, size(s.Dedup.FileBytes))
}
