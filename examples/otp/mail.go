package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// mailbox stands for the mail server that a real application would use. Each
// address's mails are one session, a field a mail, under the tag {address}. It
// has an owner like every session, most often another one than the visitor's,
// and every server reads it by asking its own node.
type mailbox struct{ sessions *node.Sessions }

// letter is a mail with a code in it.
type letter struct {
	To     string    `json:"to"`
	Digits string    `json:"digits"`
	From   string    `json:"from"` // server that sent it
	At     time.Time `json:"at"`
}

const (
	mostLetters  = 4
	mailTTL      = time.Hour
	longestEmail = 100 // bytes
)

func mailKey(address string) string { return "{" + address + "}:mail" }

// send adds a letter, and takes away the oldest of too many. Two at once both
// arrive, for each is a field of its own.
func (m mailbox) send(ctx context.Context, l letter) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	names, _, err := m.read(ctx, l.To)
	if err != nil {
		return err
	}
	fields := []session.Field{{Name: fmt.Sprintf("%020d", l.At.UnixNano()), Value: string(text)}}
	for _, name := range names[:max(0, len(names)+1-mostLetters)] {
		fields = append(fields, session.Field{Name: name, Absent: true})
	}
	op := &session.Op{Kind: session.Patch, Key: mailKey(l.To), Fields: fields, TTL: mailTTL, Revive: true}
	_, err = m.sessions.Do(ctx, op, session.AckReplica)
	return err
}

// list returns an address's letters, the newest first.
func (m mailbox) list(ctx context.Context, address string) ([]letter, error) {
	_, letters, err := m.read(ctx, address)
	slices.Reverse(letters)
	return letters, err
}

// read returns the letters and the names of their fields, the oldest first.
func (m mailbox) read(ctx context.Context, address string) (names []string, letters []letter, err error) {
	rec, err := m.sessions.Get(ctx, mailKey(address))
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrDeleted):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	for field := range rec.Fields() { // in order of name, which is of time
		var l letter
		if err := json.Unmarshal([]byte(field.Value), &l); err != nil {
			return nil, nil, fmt.Errorf("read a mail: %w", err)
		}
		names, letters = append(names, field.Name), append(letters, l)
	}
	return names, letters, nil
}

// readAddress checks what was typed as a mail address.
func readAddress(text string) (string, error) {
	a, err := mail.ParseAddress(strings.TrimSpace(text))
	if err != nil || len(a.Address) > longestEmail || strings.ContainsAny(a.Address, "{}") {
		return "", fmt.Errorf("%.40q is not a mail address such as alice@example.org", text)
	}
	return strings.ToLower(a.Address), nil
}
