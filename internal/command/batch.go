package command

import (
	"encoding/binary"
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// Batch is what travels to the owner: one command, some that are independent,
// or those of one transaction with its watches. All its keys are in one
// partition. The slices may lie in a connection's buffer: code that keeps
// anything of a Batch copies it.
type Batch struct {
	Commands [][][]byte // each with its name first
	Multi    bool       // it is an EXEC: the answer is an array of the commands' answers
	Proto    int        // of the answers, 2 or 3
	Watches  []Watch    // EXEC answers null if one has changed
	Key      string     // one of its keys: by it the batch is routed
	Only     *Spec      // of its one command, where it is known already; nil if not
	// Partition is the one of a batch without a key.
	Partition int
}

// Watch is a key as it was when a client began to watch it.
type Watch struct {
	Key   string
	Token uint64
}

// Writes reports whether the batch can change anything.
func (b *Batch) Writes() bool {
	for i := range b.Commands {
		if s := b.spec(i); s != nil && s.Flags.Has(Write) {
			return true
		}
	}
	return false
}

// Repeatable reports whether the batch may be run again when it is not known
// whether it has been run.
func (b *Batch) Repeatable() bool {
	if len(b.Watches) > 0 {
		return false
	}
	for i, args := range b.Commands {
		if s := b.spec(i); s != nil && !s.repeatable(args) {
			return false
		}
	}
	return true
}

// MayWait reports whether the batch may have to wait for a copy of what it
// writes before it is answered.
func (b *Batch) MayWait() bool {
	for i, args := range b.Commands {
		if s := b.spec(i); s != nil && s.mayWait(args) {
			return true
		}
	}
	return false
}

// Renews reports whether the batch has to wait for a copy because it renews a
// lock among the sessions of store. It is a guess about what is there when the
// batch is run, and spares most commands, which sessions get with each request
// of their users, what waiting takes.
func (b *Batch) Renews(store *session.Store) bool {
	for i, args := range b.Commands {
		if s := b.spec(i); s != nil && s.Flags.Has(renews) && s.Fits(len(args)) {
			if rec, err := store.Get(view(args[1])); err == nil && isLockRecord(rec) {
				return true
			}
		}
	}
	return false
}

// Deletes reports whether the batch does nothing but delete keys. It must work
// where other writes wait or are refused.
func (b *Batch) Deletes() bool {
	for i := range b.Commands {
		if s := b.spec(i); s == nil || !s.Flags.Has(Write|idempotent|overwrites) || s.Flags.Has(DenyOOM) {
			return false
		}
	}
	return true
}

// NeedsMemory reports whether the batch can make what there is more.
func (b *Batch) NeedsMemory() bool {
	for i := range b.Commands {
		if s := b.spec(i); s != nil && s.Flags.Has(DenyOOM) {
			return true
		}
	}
	return false
}

// Buries calls f with the keys that the batch deletes whatever is there.
func (b *Batch) Buries(f func(key string)) {
	for i, args := range b.Commands {
		s := b.spec(i)
		if s == nil || !s.Flags.Has(Write|overwrites) || s.Flags.Has(DenyOOM) {
			continue
		}
		keys, _ := s.Keys(args)
		for _, key := range keys {
			f(view(key))
		}
	}
}

// Keys calls f with every key of the batch, as often as it is named, watched
// ones too.
func (b *Batch) Keys(f func(key string)) {
	for _, w := range b.Watches {
		f(w.Key)
	}
	for i, args := range b.Commands {
		s := b.spec(i)
		if s == nil {
			continue
		}
		keys, _ := s.Keys(args) // a command with too few arguments has none
		for _, key := range keys {
			f(view(key))
		}
	}
}

// Looks calls f with every key of the batch of which it matters what was there,
// as often as it is named, watched ones too: not with those that are written
// over or deleted whatever they are.
func (b *Batch) Looks(f func(key string)) {
	for _, w := range b.Watches {
		f(w.Key)
	}
	for i, args := range b.Commands {
		s := b.spec(i)
		if s == nil || !s.looks(args) {
			continue
		}
		keys, _ := s.Keys(args)
		for _, key := range keys {
			f(view(key))
		}
	}
}

// Name is the name of the batch's command, "exec" of a transaction's.
func (b *Batch) Name() string {
	if b.Multi {
		return "exec"
	}
	if len(b.Commands) > 0 {
		if s := b.spec(0); s != nil {
			return s.Name
		}
	}
	return "command"
}

// spec is that of command i, nil if there is no such command.
func (b *Batch) spec(i int) *Spec {
	switch args := b.Commands[i]; {
	case b.Only != nil:
		return b.Only
	case len(args) == 0:
		return nil
	default:
		return Lookup(args[0])
	}
}

// A batch is written as
//
//	flags u8 (1 = protocol 3, 2 = EXEC) | key | partition | number of watches | watches | commands
//
// where a watch is a key and a token u64, a key has its length before it,
// numbers are varints, and a command is as the client sent it: an array of the
// Redis protocol.
const (
	flagProto3 = 1 << iota
	flagMulti
)

// Append appends the batch's encoding to dst.
func (b *Batch) Append(dst []byte) []byte {
	flags := byte(0)
	if b.Proto == 3 {
		flags |= flagProto3
	}
	if b.Multi {
		flags |= flagMulti
	}
	dst = appendText(append(dst, flags), b.Key)
	dst = binary.AppendUvarint(dst, uint64(b.Partition))
	dst = binary.AppendUvarint(dst, uint64(len(b.Watches)))
	for _, w := range b.Watches {
		dst = binary.BigEndian.AppendUint64(appendText(dst, w.Key), w.Token)
	}
	for _, args := range b.Commands {
		dst = resp.AppendCommand(dst, args...)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// DecodeBatch reads what [Batch.Append] wrote. The batch's parts lie in b. An
// error wraps [session.ErrMalformed].
func DecodeBatch(b []byte) (*Batch, error) {
	d := decoder{rest: b}
	flags := d.byte()
	batch := &Batch{Proto: 2, Multi: flags&flagMulti != 0, Key: view(d.text()), Partition: d.number(1<<16 - 1)}
	if flags&flagProto3 != 0 {
		batch.Proto = 3
	}
	for range d.number(uint64(len(b))) {
		batch.Watches = append(batch.Watches, Watch{Key: view(d.text()), Token: d.token()})
		if d.bad {
			break
		}
	}
	for !d.bad && len(d.rest) > 0 {
		batch.Commands = append(batch.Commands, d.command())
	}
	if d.bad || flags > flagProto3|flagMulti {
		return nil, fmt.Errorf("batch of %d bytes: %w", len(b), session.ErrMalformed)
	}
	return batch, nil
}

// decoder takes values off the front of rest. After one that is not there it is
// bad and yields zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) token() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// number reads one that is most at most.
func (d *decoder) number(most uint64) int {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > most {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return int(v)
}

func (d *decoder) text() []byte { return d.take(d.number(uint64(len(d.rest)))) }

// command reads an array of bulk strings.
func (d *decoder) command() [][]byte {
	n := d.line('*')
	if n < 1 {
		d.bad = true
		return nil
	}
	args := make([][]byte, 0, min(n, 16)) // the length alone costs nothing
	for range n {
		args = append(args, d.take(d.line('$')))
		if end := d.take(2); d.bad || string(end) != "\r\n" {
			d.bad = true
			return nil
		}
	}
	return args
}

// line reads a number between its kind and a line end.
func (d *decoder) line(kind byte) int {
	for i, c := range d.rest {
		if c != '\r' {
			continue
		}
		n, ok := resp.ParseInt(d.rest[min(1, i):i])
		if !ok || n > int64(len(d.rest)) || d.rest[0] != kind || i+1 == len(d.rest) || d.rest[i+1] != '\n' {
			break
		}
		d.rest = d.rest[i+2:]
		return int(n)
	}
	d.bad, d.rest = true, nil
	return -1
}
