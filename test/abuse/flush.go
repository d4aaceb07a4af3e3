package main

import (
	"context"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// runFlush does as a script does that wants database 1 for itself: it selects
// it, does not look whether that was refused, and empties it.
func runFlush(ctx context.Context, s *stage) error {
	for ctx.Err() == nil {
		for _, m := range s.nodes() {
			at := m.Address(nursery.RESPPort)
			s.mustRefuse(at, "SELECT 1", "FLUSHDB")
			s.mustRefuse(at, "SELECT 1", "FLUSHALL")
			s.mustRefuse(at, "SELECT 1", "FLUSHALL ASYNC")
			s.mustRefuse(at, "SELECT 1", "DEL user-0000")
			s.mustRefuse(at, "SELECT 1", "SET abuse-x 1")
			s.mustRefuse(at, "SELECT 1", "KEYS user-*")
			s.mustRefuse(at, "SELECT 1", "PING", "HELLO 3", "GET user-0000")
			s.mustRefuse(at, "FLUSHDB")
			s.mustRefuse(at, "FLUSHALL SYNC")
			s.mustRefuse(at, "MULTI", "FLUSHALL", "EXEC")
			s.mustServe(at, "SELECT 1", "PING", "SELECT 0", "EXISTS user-0000")
			s.mustServe(at, "SELECT 1", "RESET", "EXISTS user-0000")
			s.mustServe(at, "SELECT 0", "EXISTS user-0000")
		}
		nursery.Sleep(ctx, time.Second)
	}
	return nil
}

// mustRefuse sends commands in one write, of which the last must be an error.
func (s *stage) mustRefuse(address string, commands ...string) {
	if v, ok := s.play(address, commands); ok && !v.IsError() {
		s.fault("%s is answered %s, and must be refused", strings.Join(commands, ", "), said(v))
	}
}

// mustServe sends commands in one write, of which the last must find one key.
func (s *stage) mustServe(address string, commands ...string) {
	if v, ok := s.play(address, commands); ok && (v.Kind != resp.Int || v.Int != 1) {
		s.fault("%s is answered %s, and must be served", strings.Join(commands, ", "), said(v))
	}
}

// play sends commands in one write and returns the answer to the last.
func (s *stage) play(address string, commands []string) (v resp.Value, ok bool) {
	l, err := dial(attacker, address)
	if err != nil {
		s.saw("not connected")
		return v, false
	}
	defer l.Close()
	var b []byte
	for _, c := range commands {
		b = resp.AppendCommand(b, strings.Fields(c)...)
	}
	if err = l.SetDeadline(time.Now().Add(3 * time.Second)); err == nil {
		_, err = l.Write(b)
	}
	for range commands {
		if err == nil {
			v, err = l.replies.Read()
		}
	}
	if err != nil {
		s.saw("%s: no answer", strings.Join(commands, ", "))
		return v, false
	}
	s.saw("%s: %s", strings.Join(commands, ", "), said(v))
	return v, true
}
