package sched

// Hash is a hash of 64 bits that grows by values. Its zero value is ready to use.
type Hash uint64

// Add adds numbers.
func (h *Hash) Add(values ...uint64) {
	for _, v := range values {
		x := (uint64(*h) ^ v) * 0xff51afd7ed558ccd
		x ^= x >> 33
		x *= 0xc4ceb9fe1a85ec53
		*h = Hash((x ^ x>>29) + 0x9e3779b97f4a7c15)
	}
}

// AddBytes adds bytes, and how many they are.
func (h *Hash) AddBytes(b []byte) {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
	x := uint64(offset)
	for _, c := range b {
		x = (x ^ uint64(c)) * prime
	}
	h.Add(uint64(len(b)), x)
}

// AddBool adds a truth value.
func (h *Hash) AddBool(b bool) {
	if b {
		h.Add(1)
		return
	}
	h.Add(2)
}
