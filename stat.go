package godax

import (
	"time"
)

// Stat is what FileInfo.Sys returns (as a pointer): the attributes that fs.FileInfo
// has no method for.
type Stat struct {
	Ino                  uint64
	Nlink                uint32
	UID, GID             uint32
	RdevMajor, RdevMinor uint32
	Blocks               uint64 // of 512 bytes
	BlockSize            int64
	Atime, Ctime         time.Time
	Btime                time.Time // zero if the format has none
}
