//go:build !race

package axfs_test

const raceEnabled = false
