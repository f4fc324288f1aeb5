// Package hostiletest has no code but tests: damaged and mutated images, opened,
// walked, read and written through the public API. Nothing may panic, hang, or
// take memory that the image's size does not justify.
package hostiletest
