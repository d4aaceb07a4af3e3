package session

// DropIf is [Store.Drop] on the condition that the partition's digest is still
// the one given: whoever hands a partition over forgets exactly what others
// have confirmed, and nothing that has arrived since.
func (s *Store) DropIf(p int, digest uint64) bool {
	part := &s.partitions[p]
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.digest != digest {
		return false
	}
	_, bytes := part.clearLocked()
	s.bytes.Add(-bytes)
	return true
}
