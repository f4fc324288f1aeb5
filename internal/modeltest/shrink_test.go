package modeltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// shrink leaves out operations as long as the run still fails, until the time is up.
func shrink(cfg config, log []op, limit time.Duration) ([]op, error) {
	end := time.Now().Add(limit)
	again := run(cfg, log)
	if again.failure == nil {
		return log, errors.New("does not fail when replayed")
	}
	log, failure := again.log, again.failure
	what := log[len(log)-1].Kind
	for size := len(log) / 2; size > 0 && time.Now().Before(end); {
		smaller := false
		for at := 0; at < len(log) && time.Now().Before(end); {
			try := slices.Concat(log[:at], log[min(at+size, len(log)):])
			if len(try) == 0 {
				break
			}
			if res := run(cfg, try); res.failure != nil && len(res.log) > 0 && res.log[len(res.log)-1].Kind == what {
				log, failure, smaller = res.log, res.failure, true
			} else {
				at += size
			}
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return log, failure
}

// script is a list of operations as Go source.
func script(log []op) string {
	var b strings.Builder
	for _, o := range log {
		fmt.Fprintf(&b, "\t%v,\n", o)
	}
	return b.String()
}
