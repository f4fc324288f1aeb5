//go:build race

package ext

// raceEnabled says that times are not to be believed.
const raceEnabled = true
