package modeltest

// use makes a view or pin.
func (m *model) use(h *handle, o op) *view {
	h.uses++
	v := &view{h, o.Off, o.N, o.Arg&1 != 0}
	if v.write {
		h.n.writers++
		h.n.fuzzy = true
	}
	return v
}

func (m *model) unuse(v *view) {
	v.h.uses--
	if v.write {
		v.h.n.writers--
	}
}

// doView executes what goes through a view. A hole that came into a writable view
// after it was made, for which there is no storage, cannot be accessed: EFAULT.
func (m *model) doView(o op, got outcome) outcome {
	v := m.views[o.Slot2]
	n := v.h.n
	page := (v.off + o.Off + got.n) &^ (pageSize - 1)
	noRoom := got.err == "EFAULT" && got.n < o.N && (m.wholeUnits || v.write && n.isZero(page, page+pageSize))
	if noRoom {
		o.N = got.n
	}
	switch o.Kind {
	case opMunmap:
		m.unuse(v)
		m.views[o.Slot2] = nil
	case opLoad:
		if v.off+o.Off >= pageUp(n.size) {
			return fails(errBeyond)
		}
		b := make([]byte, o.N)
		n.read(b, v.off+o.Off)
		if noRoom {
			return outcome{err: got.err, n: o.N, data: string(b)}
		}
		return outcome{n: o.N, data: string(b)}
	case opStore:
		n.fuzzy = true
		b := filled(o.N, o.Arg)
		at := v.off + o.Off
		ok := max(min(o.N, pageUp(n.size)-at), 0)
		// What lies past the end of the file is lost.
		n.write(b[:max(min(o.N, n.size-at), 0)], at)
		if noRoom {
			return outcome{err: got.err, n: o.N}
		}
		if ok < o.N {
			return outcome{n: ok, err: errBeyond}
		}
		return outcome{n: ok}
	}
	return outcome{}
}

func (m *model) doPin(o op) outcome {
	v := m.pins[o.Slot2]
	n := v.h.n
	switch o.Kind {
	case opUnpin:
		m.unuse(v)
		m.pins[o.Slot2] = nil
		n.pins--
	case opPinLoad:
		b := make([]byte, v.n)
		n.read(b, v.off)
		return outcome{data: string(b)}
	case opPinStore:
		n.fuzzy = true
		n.write(filled(o.N, o.Arg), v.off+o.Off)
	}
	return outcome{}
}
