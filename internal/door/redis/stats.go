package redis

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"
)

// Stats counts what the door has done since its start.
type Stats struct {
	Clients        int   // connections now
	Subscribers    int   // connections that have subscribed to something now
	Accepted       int64 // connections taken
	Rejected       int64 // connections refused, over a limit or while stopping
	Crowded        int64 // of these, over MaxClientsPerAddress
	WrongPasswords int64
	Unseen         int64 // passwords not looked at, for too many before were wrong
	BufferBytes    int64 // that connections hold now
	BuffersRefused int64 // times that a connection asked for more than there was
	Evicted        int64 // connections closed because others needed their buffers
	Gone           int64 // commands broken off whose clients had gone
	Unproven       int64 // connections closed that did not authenticate in time
	Commands       int64
	Errors         int64 // commands answered with an error
	ProtocolErrors int64 // connections closed for what they sent
	CutOff         int64 // connections closed for what they did not read
	Idle           int64 // connections closed for sending nothing
	Panics         int64 // connections closed by a bug of ours
	Messages       int64 // messages queued for subscribers
}

type counters struct {
	evicted, gone, crowded, wrongPasswords, unseenPasswords, unproven, browsers atomic.Int64

	accepted, rejected, commands, errors, protocolErrors, cutOff, idle, panics, messages atomic.Int64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	clients := len(s.conns)
	s.mu.Unlock()
	n := &s.counters
	return Stats{
		Clients: clients, Subscribers: int(s.hub.subscribers.Load()),
		Accepted: n.accepted.Load(), Rejected: n.rejected.Load(),
		Commands: n.commands.Load(), Errors: n.errors.Load(),
		ProtocolErrors: n.protocolErrors.Load(), CutOff: n.cutOff.Load(), Idle: n.idle.Load(),
		Crowded: n.crowded.Load(), WrongPasswords: n.wrongPasswords.Load(), Unseen: n.unseenPasswords.Load(), Unproven: n.unproven.Load(), Gone: n.gone.Load(), Evicted: n.evicted.Load(),
		BufferBytes: s.cfg.Buffers.Used(), BuffersRefused: s.cfg.Buffers.Refused(),
		Panics: n.panics.Load(), Messages: n.messages.Load(),
	}
}

func newRunID() string {
	var random [20]byte
	rand.Read(random[:])
	return hex.EncodeToString(random[:])
}
