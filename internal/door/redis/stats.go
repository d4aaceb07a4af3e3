package redis

import (
	"crypto/rand"
	"encoding/hex"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/metric"
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

// count puts what the endpoint counts.
func (s *Server) count(put metric.Put) {
	n := s.Stats()
	put("redis_accepted", "Connections accepted at the Redis endpoint.", n.Accepted)
	put("redis_rejected", "Connections refused at the Redis endpoint, because too many were open.", n.Rejected)
	put("redis_crowded", "Of the connections refused at the Redis endpoint, those of addresses that had too many.", n.Crowded)
	put("redis_wrong_passwords", "AUTHs and HELLO AUTHs with a wrong password.", n.WrongPasswords)
	put("redis_unseen_auths", "AUTHs refused without a look at the password, because too many of their address were waiting.", n.Unseen)
	put("redis_auth_timeouts", "Connections to the Redis endpoint closed because they had not authenticated in time.", n.Unproven)
	put("redis_abandoned", "Commands broken off because their clients had gone.", n.Gone)
	put("redis_buffers_refused", "Redis connections closed for holding most of the buffers when these were full.", n.BuffersRefused)
	put("redis_evicted", "Redis connections closed because others needed their buffers.", n.Evicted)
	put("redis_commands", "Commands run at the Redis endpoint.", n.Commands)
	put("redis_errors", "Commands answered with an error.", n.Errors)
	put("redis_protocol_errors", "Clients of the Redis endpoint cut off, because they did not keep to its protocol.", n.ProtocolErrors)
	put("redis_cut_off", "Clients of the Redis endpoint cut off, because they did not read their answers.", n.CutOff)
	put("redis_idle", "Clients of the Redis endpoint cut off, because they had been idle for long.", n.Idle)
	put("redis_panics", "Connections of the Redis endpoint that ended in a panic.", n.Panics)
	put("redis_messages", "Messages given to subscribers.", n.Messages)
}

func newRunID() string {
	var random [20]byte
	rand.Read(random[:])
	return hex.EncodeToString(random[:])
}
