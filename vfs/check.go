package vfs

import "fmt"

// Severity says how much a [Finding] matters.
type Severity uint8

const (
	// Note: worth knowing, nothing is wrong.
	Note Severity = iota
	// Warning: everything can be read, but the medium should not be written.
	Warning
	// Damage: something cannot be used.
	Damage
)

var severityNames = [...]string{"note", "warning", "damage"}

// String is the severity in lower case.
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// Finding is one result of a check.
type Finding struct {
	Severity  Severity
	Structure string // "superblock", "log entry 12"
	Offset    int64  // of the structure, in bytes from the start of its device; -1 if unknown
	Field     string // as the format's documentation names it; may be empty
	Value     uint64 // what the field holds
	Reason    string
}

// Report is what a check found.
type Report struct {
	Findings []Finding // in the order of the medium; at most a few thousand
	Dropped  int       // findings beyond those
	Facts    []KV      // what was there to be checked: numbers of files and the like
}

// Worst is the greatest severity of all findings; false if there are none.
func (r *Report) Worst() (Severity, bool) {
	worst := Note
	for _, f := range r.Findings {
		worst = max(worst, f.Severity)
	}
	return worst, len(r.Findings) > 0
}

// FindingOf makes a finding of what an error says about a medium.
func FindingOf(s Severity, e *CorruptError) Finding {
	return Finding{Severity: s, Structure: e.Structure, Offset: e.Offset, Field: e.Field, Value: e.Value, Reason: e.Reason}
}
