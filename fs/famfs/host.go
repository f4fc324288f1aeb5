package famfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"godax/internal/famfsfmt"
)

// Where a host's identity is found.
const (
	// HostEnv is the environment variable that goes before everything else, for containers.
	HostEnv = "GODAX_SYSTEM_UUID"

	systemFile  = "/opt/famfs/system_uuid" // of the reference tools
	machineFile = "/etc/machine-id"
)

// HostUUID returns this host's identity, which makes it the master of the file systems it
// formats: the environment variable GODAX_SYSTEM_UUID; else what the famfs tools keep in
// /opt/famfs/system_uuid; else a UUID derived from /etc/machine-id. Nothing is written.
// Two hosts must not have the same one.
func HostUUID() (string, error) {
	u, err := hostUUID("")
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// hostUUID is HostUUID where given is not "".
func hostUUID(given string) (famfsfmt.UUID, error) {
	if given == "" {
		given = os.Getenv(HostEnv)
	}
	if given != "" {
		return famfsfmt.ParseUUID(given)
	}
	b, err := os.ReadFile(systemFile)
	if err == nil {
		u, err := famfsfmt.ParseUUID(strings.TrimSpace(string(b)))
		if err != nil {
			return u, fmt.Errorf("%s: %w", systemFile, err)
		}
		return u, nil
	}
	id, merr := os.ReadFile(machineFile)
	if text := strings.TrimSpace(string(id)); merr == nil && text != "" {
		return derived(text), nil
	}
	return famfsfmt.UUID{}, fmt.Errorf("this host has no identity: set %s, or write a UUID to %s: %w", HostEnv, systemFile, errors.Join(err, merr))
}

// derived is a UUID of version 8 (RFC 9562) made of a machine's id, which is not to be shown
// itself.
func derived(id string) (u famfsfmt.UUID) {
	sum := sha256.Sum256([]byte("famfs system " + id))
	copy(u[:], sum[:])
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return u
}
