package dump

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seed-95a32959/holdfast/session"
)

// Format is the number of the form that is written, and the only one read.
const Format = 1

// The kinds of sessions.
const (
	Hash      = "hash"
	Opaque    = "opaque"
	Set       = session.KindSet
	SortedSet = session.KindSortedSet
)

// ErrLine is wrapped by the errors of a line that cannot be read.
var ErrLine = errors.New("not a line of a dump")

// Header is the first line.
type Header struct {
	Format  int       `json:"holdfast_dump"`
	Cluster string    `json:"cluster"`
	At      time.Time `json:"at"`
}

// Trailer is the last line.
type Trailer struct {
	End      bool `json:"dump_end"`
	Sessions int  `json:"sessions"`
	// Missing are the partitions of which not all sessions could be had.
	Missing []int `json:"missing,omitempty"`
}

// Session is a session in a dump. Its fields are as the store keeps them,
// without the reserved ones that say the kind and the content type.
type Session struct {
	Key         string
	Kind        string
	ContentType string // of an opaque one
	Fields      []session.Field
	End         int64 // unix ms; 0 = never
	Idle        int64 // ms; 0 = not sliding
	Deadline    int64 // unix ms; 0 = none
}

// Of returns the session of a live record.
func Of(rec *session.Record) Session {
	e := rec.Expiry()
	s := Session{Key: rec.Key(), Kind: Hash, End: min(e.At, maxMillis), Idle: min(e.Idle, maxMillis), Deadline: min(e.Deadline, maxMillis)}
	if value, opaque := rec.Opaque(); opaque { // which hides the fields that a merge may have left
		s.Kind, s.Fields = Opaque, []session.Field{{Value: value}}
		s.ContentType, _ = rec.Value(session.FieldType)
		return s
	}
	if kind := rec.Kind(); kind != "" {
		s.Kind = kind
	}
	for f := range rec.Fields() {
		if !session.Reserved(f.Name) {
			s.Fields = append(s.Fields, session.Field{Name: f.Name, Value: s.valueOf(f.Value)})
		}
	}
	return s
}

// valueOf is a field's value as the session's kind has it. Where a merge has
// brought fields of a hash into a set, their values stand for nothing, and count
// as 0 for scores.
func (s *Session) valueOf(value string) string {
	switch s.Kind {
	case Set:
		return ""
	case SortedSet:
		if badScore(value) {
			return "0"
		}
	}
	return value
}

// badScore says whether text is not a score as it is stored.
func badScore(text string) bool {
	score, err := strconv.ParseFloat(text, 64)
	return err != nil || math.IsNaN(score)
}

// Ended says whether the session has ended by a clock. As a copy does, it gives
// the session a tenth of its idle time more: the last touches may not stand in
// the record that the dump was made of.
func (s *Session) Ended(now time.Time) bool {
	if s.End == 0 {
		return false
	}
	end := s.End + s.Idle/10
	if s.Deadline > 0 {
		end = min(end, s.Deadline)
	}
	return now.UnixMilli() >= end
}

// Put returns the operation that writes the session whose life has begun at a
// time: now, for one that there is not yet. An idle time begins anew, as with
// every write; what has none ends when it would have.
func (s *Session) Put(began time.Time) *session.Op {
	op := &session.Op{Kind: session.Put, Key: s.Key, Fields: s.Fields, TTL: -1, MaxAge: -1}
	switch s.Kind {
	case Opaque:
		if s.ContentType != "" {
			op.Fields = []session.Field{s.Fields[0], {Name: session.FieldType, Value: s.ContentType}}
		}
	case Set, SortedSet:
		op.Fields = append([]session.Field{{Name: session.FieldKind, Value: s.Kind}}, s.Fields...)
	}
	if s.Idle > 0 {
		op.TTL = time.Duration(min(s.Idle, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	end := s.Deadline
	if s.Idle == 0 && s.End > 0 {
		end = s.End
	}
	if end > 0 {
		op.MaxAge = max(time.Millisecond, time.UnixMilli(end).Sub(began))
	}
	return op
}

// line is a session as it is written.
type line struct {
	Key         string  `json:"key,omitempty"`
	Key64       []byte  `json:"key64,omitempty"`
	Kind        string  `json:"kind"`
	ContentType string  `json:"content_type,omitempty"`
	Type64      []byte  `json:"content_type64,omitempty"`
	Fields      []field `json:"fields"`
	End         int64   `json:"end,omitempty"`
	Idle        int64   `json:"idle,omitempty"`
	Deadline    int64   `json:"deadline,omitempty"`
}

type field struct {
	Name    string `json:"name,omitempty"`
	Name64  []byte `json:"name64,omitempty"`
	Value   string `json:"value,omitempty"`
	Value64 []byte `json:"value64,omitempty"`
	Raw     bool   `json:"raw,omitempty"`
}

// split returns text as the one or the other of its two forms.
func split(text string) (plain string, b64 []byte) {
	if utf8.ValidString(text) {
		return text, nil
	}
	return "", []byte(text)
}

// join is the inverse of split.
func join(name, plain string, b64 []byte) (string, error) {
	if plain != "" && len(b64) > 0 {
		return "", fmt.Errorf("%s and %s64 at once: one of them is accepted", name, name)
	}
	return plain + string(b64), nil
}

// MarshalJSON implements json.Marshaler.
func (s Session) MarshalJSON() ([]byte, error) {
	l := line{Kind: s.Kind, Fields: make([]field, len(s.Fields)), End: s.End, Idle: s.Idle, Deadline: s.Deadline}
	l.Key, l.Key64 = split(s.Key)
	l.ContentType, l.Type64 = split(s.ContentType)
	for i, f := range s.Fields {
		to, value := &l.Fields[i], f.Value
		if s.Kind == Hash {
			if raw, ok := session.RawValue(value); ok {
				value, to.Raw = raw, true
			}
		}
		to.Name, to.Name64 = split(f.Name)
		to.Value, to.Value64 = split(value)
	}
	return encode(l)
}

// encode is json.Marshal without the escapes that only web pages need.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Session) UnmarshalJSON(b []byte) (err error) {
	var l line
	if err := decode(b, &l); err != nil {
		return err
	}
	*s = Session{Kind: l.Kind, End: l.End, Idle: l.Idle, Deadline: l.Deadline}
	if s.Key, err = join("key", l.Key, l.Key64); err != nil {
		return err
	}
	if s.ContentType, err = join("content_type", l.ContentType, l.Type64); err != nil {
		return err
	}
	for i, f := range l.Fields {
		name, err := join("name", f.Name, f.Name64)
		if err != nil {
			return fmt.Errorf("field %d: %w", i+1, err)
		}
		value, err := join("value", f.Value, f.Value64)
		if err != nil {
			return fmt.Errorf("field %d: %w", i+1, err)
		}
		if f.Raw {
			if s.Kind != Hash {
				return fmt.Errorf("field %d: raw in kind %q: it is accepted in a hash", i+1, s.Kind)
			}
			value = "\x00" + value
		}
		s.Fields = append(s.Fields, session.Field{Name: name, Value: value})
	}
	return s.check()
}

// decode reads one JSON value whose members are all known.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON object: one a line is accepted")
	}
	return nil
}

// maxMillis bounds times: what programs can read that have no whole numbers in
// JSON. That is some 285,000 years.
const maxMillis = 1 << 53

// check refuses what no record can be made of.
func (s *Session) check() error {
	if s.Key == "" {
		return errors.New("no key: key or key64 is needed")
	}
	switch s.Kind {
	case Opaque:
		if len(s.Fields) != 1 || s.Fields[0].Name != "" {
			return fmt.Errorf("kind opaque with %d fields: one without a name is accepted", len(s.Fields))
		}
	case Hash, Set, SortedSet:
		for i, f := range s.Fields {
			if err := s.checkField(f); err != nil {
				return fmt.Errorf("field %d: %w", i+1, err)
			}
		}
	default:
		return fmt.Errorf("kind %.40q: hash, opaque, set and zset are accepted", s.Kind)
	}
	if s.ContentType != "" && s.Kind != Opaque {
		return fmt.Errorf("content_type in kind %s: it is accepted in opaque", s.Kind)
	}
	for name, ms := range map[string]int64{"end": s.End, "idle": s.Idle, "deadline": s.Deadline} {
		if ms < 0 || ms > maxMillis {
			return fmt.Errorf("%s %d: 0 to %d ms are accepted", name, ms, int64(maxMillis))
		}
	}
	return nil
}

// checkField refuses what no client could have written, and could not read.
func (s *Session) checkField(f session.Field) error {
	switch {
	case f.Name == "" || session.Reserved(f.Name):
		return errors.New("a name that no client's field has: it must not be empty or begin with a zero byte")
	case s.Kind == Set && f.Value != "":
		return errors.New("a member of a set with a value: a name alone is accepted")
	case s.Kind == SortedSet && badScore(f.Value):
		return fmt.Errorf("score %.40q: a number, inf or -inf is accepted", f.Value)
	}
	return nil
}
