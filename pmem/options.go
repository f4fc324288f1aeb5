package pmem

// MemoryOptions are the choices for [NewMemory].
type MemoryOptions struct {
	// HugePages makes the memory of huge pages of 2 MiB, which the administrator
	// must have reserved (/proc/sys/vm/nr_hugepages).
	HugePages bool
}

// Options are the choices for [Open].
type Options struct {
	// ReadOnly opens the device for reading. Stores to its bytes raise SIGSEGV.
	ReadOnly bool

	// Shared, with ReadOnly, opens the device even while a writer has it open, and
	// keeps no writer from opening it later: what is read may change at any time.
	// Without ReadOnly it is an error, there is never more than one writer.
	Shared bool

	// Peer, without ReadOnly, opens the device for stores beside all others, and takes no
	// lock. It is for formats that say themselves which process or host stores where.
	Peer bool
}
