package main

import (
	"context"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// authLimit is by when a connection must have been ended that has not
	// authenticated, with some time to spare.
	authLimit = 12 * time.Second
	// guessLimit is how many guesses a second one address may have looked at,
	// and wrongPassword how one is answered that was.
	guessLimit    = 100
	wrongPassword = "-WRONGPASS"
)

// runAuth holds connections open before AUTH by a byte now and then, and
// guesses the password at the same node from another address.
func runAuth(ctx context.Context, s *stage) error {
	const slow, guessers = 1000, 64
	m := s.nodes()[0]
	begun := time.Now()
	for range slow {
		s.group.Go(func() { s.dribble(ctx, m.Address(nursery.RESPPort)) })
		nursery.Sleep(ctx, time.Millisecond)
	}
	for i := range guessers {
		s.group.Go(func() { s.guess(ctx, m.Address(nursery.RESPPort), i) })
	}
	<-ctx.Done()
	s.group.Wait()
	s.mu.Lock()
	n := s.got["guess: "+wrongPassword]
	s.mu.Unlock()
	if rate := int(float64(n) / time.Since(begun).Seconds()); rate > guessLimit {
		s.fault("%d guesses of the password a second were looked at, at most %d wanted", rate, guessLimit)
	}
	return nil
}

// dribble sends a byte of a command every two seconds.
func (s *stage) dribble(ctx context.Context, address string) {
	l, err := dial(attacker, address)
	if err != nil {
		s.saw("not connected")
		return
	}
	defer l.Close()
	begun := time.Now()
	text := string(resp.AppendCommand(nil, "AUTH", "0123456789012345678901234567890123456789"))
	b := make([]byte, 256)
	for i := 0; ctx.Err() == nil; i = (i + 1) % len(text) {
		_, err := l.Write([]byte{text[i]})
		if err == nil {
			err = l.SetReadDeadline(time.Now().Add(2 * time.Second))
		}
		if err == nil {
			_, err = l.Read(b)
		}
		if err != nil && !isTimeout(err) {
			s.saw("dribbling connection ended within %d s", 5*(1+int(time.Since(begun)/(5*time.Second))))
			return
		}
	}
	s.saw("dribbling connection held to the end")
	if held := time.Since(begun); held > authLimit {
		s.fault("a connection without AUTH was held for over %v by a byte every 2 s", authLimit)
	}
}

// guess guesses the password, over one connection after another, and waits
// for what each guess is answered. All guessers together offer ten thousand a
// second.
func (s *stage) guess(ctx context.Context, address string, seed int) {
	const every = 6 * time.Millisecond
	for n := 0; ctx.Err() == nil; {
		l, err := dial(guesser, address)
		if err != nil {
			s.saw("guesser not connected")
			nursery.Sleep(ctx, 50*time.Millisecond)
			continue
		}
		for err == nil && nursery.Sleep(ctx, every) {
			var v resp.Value
			n++
			v, err = l.command(5*time.Second, "AUTH", "guess-"+strconv.Itoa(seed)+"-"+strconv.Itoa(n))
			switch {
			case err != nil:
			case v.IsError():
				s.saw("guess: %s", said(v)) // others than wrongPassword are refused unseen
			default:
				s.fault("a wrong password is answered %s", said(v))
			}
		}
		l.Close()
		s.saw("guesser sent away")
	}
}
