// Command pool shows a store of objects in shared memory: one process makes objects, any number
// of others find, map and read them, all in one device and without a copy. It is what
// programs that use a raw device-DAX device write by hand: where is room, who has which part,
// when is it complete.
//
//	go run ./examples/pool demo                    three readers and a writer, in processes of their own
//	go run ./examples/pool read IMAGE              prints each object as it appears
//	go run ./examples/pool write IMAGE NAME SIZE   makes an object of a pattern
//
// IMAGE is a famfs: a DAX device, or a file that `godax mkfs famfs` has made.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godax"
)

// An object is a file: a header of one cache line, then the bytes. The name of a file is
// published when its storage is clear, and before anybody could have filled it; so the
// header says when the bytes are complete. It is stored last, in one machine store.
const (
	headerSize = 64
	readyAt    = 0 // when the object was complete, in nanoseconds of the clock; 0 as long as it is not
	madeAt     = 8 // when its making began
)

// lookEvery is how often a reader looks for new objects. A look is a few loads from the device.
const lookEvery = time.Millisecond

// put makes an object of size bytes, which fill stores in place. It returns when the object is
// complete for everybody, and survives a power cut.
func put(f *godax.FS, name string, size int64, fill func(b []byte) error) (err error) {
	made := now()
	file, err := f.CreateSized(name, headerSize+size, godax.CreateOptions{Perm: 0o644})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	m, err := file.Mmap(0, int(headerSize+size), godax.MapRead|godax.MapWrite|godax.MapShared)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := fill(m.Bytes()[headerSize:]); err != nil {
		return err
	}
	store(m.Bytes()[madeAt:], made)
	if err := m.Sync(); err != nil { // the bytes are in memory before the word that says so
		return err
	}
	store(m.Bytes()[readyAt:], now())
	return m.Sync()
}

// object is a complete object in this process's memory.
type object struct {
	name        string
	bytes       []byte // the device's own; valid until close
	made, ready int64  // nanoseconds of the clock
	file        *godax.File
	mapping     *godax.Mapping
}

// close unmaps the object.
func (o *object) close() error { return errors.Join(o.mapping.Close(), o.file.Close()) }

// get waits for an object to be complete, and maps it.
func get(ctx context.Context, f *godax.FS, name string) (_ *object, err error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	fi, err := file.Stat()
	if err == nil && fi.Size() < headerSize {
		err = fmt.Errorf("%s: %d bytes are no object", name, fi.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	m, err := file.Mmap(0, int(fi.Size()), godax.MapRead|godax.MapShared)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	o := &object{name: name, bytes: m.Bytes()[headerSize:], file: file, mapping: m}
	for o.ready = load(m.Bytes()[readyAt:]); o.ready == 0; o.ready = load(m.Bytes()[readyAt:]) {
		if !pause(ctx) {
			return nil, errors.Join(ctx.Err(), o.close())
		}
	}
	o.made = load(m.Bytes()[madeAt:])
	return o, nil
}

// each calls use for every object, those that are there first and then each as it appears, in the
// order in which they were made, until ctx ends.
func each(ctx context.Context, f *godax.FS, use func(*object) error) error {
	for pos := uint64(0); ; {
		changes, next, err := f.Follow(pos)
		if err != nil {
			return err
		}
		pos = next
		for _, c := range changes {
			if c.Path == "" || c.IsDir() {
				continue
			}
			o, err := get(ctx, f, c.Path)
			if err != nil {
				return err
			}
			if err := errors.Join(use(o), o.close()); err != nil {
				return err
			}
		}
		if len(changes) == 0 && !pause(ctx) {
			return nil
		}
	}
}

// pause waits a moment; false when ctx ends.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(lookEvery):
		return true
	case <-ctx.Done():
		return false
	}
}

// now is the clock that all processes of a host share.
func now() int64 { return time.Now().UnixNano() }
