package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/session"
)

// Why a journal cannot be opened, read or written. What is returned wraps one of
// these, says which file, and what would be accepted.
var (
	// ErrInUse: another process has it open.
	ErrInUse = errors.New("another process has this data directory open")
	// ErrForeign: it is another node's, or another cluster's.
	ErrForeign = errors.New("this data directory is another node's")
	// ErrNewer: a later version has written it, and this one cannot read it.
	ErrNewer = errors.New("a later version has written this data directory")
	// ErrClosed: it has been closed.
	ErrClosed = errors.New("the journal is closed")
)

const (
	identityFile = "identity"
	lockFile     = "lock"
	basePrefix   = "base-"
	logPrefix    = "log-"
	damaged      = "damaged-"
	unfinished   = ".new"

	// format is of the files and their frames; records say their own.
	format = 1
	// minRewrite is how large the logs grow at least before they are rewritten.
	minRewrite = 32 << 20
	// maxLogs is how many logs there are at most before they are rewritten: each
	// start and each snapshot begins one.
	maxLogs = 64
)

// Identity says whose a journal is.
type Identity struct {
	Format  int    `json:"format"`
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
}

// Damage is a part of a file that cannot be read.
type Damage struct {
	File   string
	Offset int64
	Bytes  int64
}

func (d Damage) String() string {
	return fmt.Sprintf("%d bytes at %d of %s", d.Bytes, d.Offset, d.File)
}

// Replayed is what a replay has found.
type Replayed struct {
	Frames int
	Bytes  int64
	// Torn is how many bytes were cut off the end of the last log: a process
	// was writing them when it ended.
	Torn    int64
	Damaged []Damage
}

// Journal is the open files of one node. One goroutine uses it, but for a
// [Rewrite], which another may drive.
type Journal struct {
	fs   FS
	lock io.Closer

	base     uint64   // number of the base in force; 0 for none
	logs     []uint64 // numbers of the logs since, in order
	newest   uint64   // number of any file
	baseSize int64
	logSize  int64 // of all logs
	hurt     map[string]bool

	log    File // that is appended to; nil before Replay
	begun  bool // something was written to it
	unsure bool // something was written since the last sync
	err    error
}

// Open opens the journal in a directory, or begins one where there is none. It
// reads nothing of it: Replay comes next.
func Open(dir FS, id Identity) (*Journal, error) {
	lock, err := dir.Lock(lockFile)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{fs: dir, lock: lock, hurt: make(map[string]bool)}
	if err := j.open(id); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), lock.Close())
	}
	return j, nil
}

func (j *Journal) open(id Identity) error {
	files, err := j.fs.List()
	if err != nil {
		return err
	}
	known := false
	for _, f := range files {
		if f.Name == identityFile {
			known = true
		}
		if n, ok := numberOf(basePrefix, f.Name); ok {
			j.base, j.baseSize = max(j.base, n), f.Size
			j.newest = max(j.newest, n)
		}
		if n, ok := numberOf(logPrefix, f.Name); ok {
			j.newest = max(j.newest, n)
		}
	}
	id.Format = format
	if err := j.identify(id, known); err != nil {
		return err
	}
	for _, f := range files {
		base, isBase := numberOf(basePrefix, f.Name)
		log, isLog := numberOf(logPrefix, f.Name)
		switch {
		case strings.HasSuffix(f.Name, unfinished), isBase && base < j.base, isLog && log < j.base:
			if err := j.fs.Remove(f.Name); err != nil { // what a rewrite was about to do
				return err
			}
		case isBase:
			j.baseSize = f.Size
		case isLog:
			j.logs, j.logSize = append(j.logs, log), j.logSize+f.Size
		}
	}
	slices.Sort(j.logs)
	return nil
}

// identify holds the identity in the directory against ours, or writes it.
func (j *Journal) identify(id Identity, known bool) error {
	if !known {
		if j.newest > 0 {
			return fmt.Errorf("%w: it has %s and no file %q, which says whose they are", ErrForeign, nameOf(logPrefix, j.newest), identityFile)
		}
		b, err := json.Marshal(id)
		if err != nil {
			return err
		}
		return j.put(identityFile, b)
	}
	f, err := j.fs.Open(identityFile)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", identityFile, err)
	}
	var has Identity
	switch err := json.Unmarshal(b, &has); {
	case err != nil:
		return fmt.Errorf("%w: file %q is no identity: %w", ErrForeign, identityFile, err)
	case has.Format > format:
		return fmt.Errorf("%w: format %d, this build reads %d", ErrNewer, has.Format, format)
	case has.Cluster != id.Cluster || has.Name != id.Name:
		return fmt.Errorf("%w: of node %q of cluster %q, this is node %q of cluster %q", ErrForeign, has.Name, has.Cluster, id.Name, id.Cluster)
	}
	return nil
}

// notePrefix keeps the names of notes from those of other files.
const notePrefix = "note-"

// Note writes a few bytes under a name, in the place of what was there: whole, or
// not at all.
func (j *Journal) Note(name string, b []byte) error {
	if j.err != nil {
		return j.err
	}
	if err := j.put(notePrefix+name, b); err != nil {
		return j.fail("note", name, err)
	}
	return nil
}

// Noted reads what Note has written; nil for nothing.
func (j *Journal) Noted(name string) ([]byte, error) {
	f, err := j.fs.Open(notePrefix + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read note: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read note %s: %w", name, err)
	}
	return b, nil
}

// put writes a small file whole, or not at all.
func (j *Journal) put(name string, b []byte) error {
	f, err := j.fs.Create(name + unfinished)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return errors.Join(j.fs.Rename(name+unfinished, name), j.fs.Sync("."))
}

// Replay hands out what the journal has, and begins the log to append to. An
// error of to ends it.
func (j *Journal) Replay(to Replayer) (Replayed, error) {
	var all Replayed
	files := j.files()
	for i, name := range files {
		last := i == len(files)-1 && len(j.logs) > 0
		if err := j.replayFile(name, last, to, &all); err != nil {
			return all, err
		}
	}
	return all, j.begin()
}

// replayFile replays one file. The end of the last log may be torn.
func (j *Journal) replayFile(name string, last bool, to Replayer, all *Replayed) (err error) {
	f, err := j.fs.Open(name)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := newScanner(f)
	var end uint64
	for {
		body, skipped := s.next()
		if s.err != nil && !errors.Is(s.err, io.EOF) {
			return fmt.Errorf("replay %s at %d: %w", name, s.offset(), s.err)
		}
		behind := s.offset()
		if body != nil {
			behind -= int64(frameHeader + len(body))
		}
		switch {
		case body == nil && last:
			all.Torn = skipped
			j.logSize -= skipped
			// What a process has written that was killed is on its way to the
			// disk yet. From now on this is not the last log, whose end may be torn.
			if err := j.fs.Truncate(name, behind-skipped); err != nil {
				return fmt.Errorf("cut the end of %s: %w", name, err)
			}
		case skipped == 0:
		default:
			j.damage(name, Damage{name, behind - skipped, skipped}, all)
		}
		if body == nil {
			break
		}
		if err := replay(body, to, &end); err != nil {
			return fmt.Errorf("replay %s at %d: %w", name, behind, err)
		}
		all.Frames++
		all.Bytes += int64(frameHeader + len(body))
	}
	if strings.HasPrefix(name, basePrefix) && end == 0 && !j.hurt[name] {
		j.damage(name, Damage{name, s.offset(), 0}, all) // its end is missing
	}
	return nil
}

func (j *Journal) damage(name string, d Damage, all *Replayed) {
	j.hurt[name] = true
	all.Damaged = append(all.Damaged, d)
}

// begin begins the next log, without which the journal cannot go on.
func (j *Journal) begin() error {
	if err := j.next(); err != nil {
		return j.fail("begin", nameOf(logPrefix, j.newest+1), err)
	}
	return nil
}

// next has what is appended from now on written to the next log, or changes
// nothing.
func (j *Journal) next() error {
	log, err := j.fs.Create(nameOf(logPrefix, j.newest+1))
	if err != nil {
		return err
	}
	if err := j.fs.Sync("."); err != nil {
		return errors.Join(err, log.Close())
	}
	j.newest++
	j.log, j.begun, j.logs = log, false, append(j.logs, j.newest)
	return nil
}

// fail notes the first failure, after which nothing is written any more.
func (j *Journal) fail(what, name string, err error) error {
	if j.err == nil {
		j.err = fmt.Errorf("%s %s: %w", what, name, err)
	}
	return j.err
}

// Err returns the first failure, nil if there is none.
func (j *Journal) Err() error { return j.err }

// Append writes a batch. It is on the disk after Sync.
func (j *Journal) Append(b *Batch) error {
	if j.err != nil || b.Len() == 0 {
		return j.err
	}
	frame := b.seal()
	j.begun = true
	if _, err := j.log.Write(frame); err != nil {
		return j.fail("write", nameOf(logPrefix, j.newest), err)
	}
	j.logSize += int64(len(frame))
	j.unsure = true
	return nil
}

// Sync returns when all that was appended is on the disk.
func (j *Journal) Sync() error {
	if j.err != nil || !j.unsure {
		return j.err
	}
	if err := j.log.Sync(); err != nil {
		return j.fail("sync", nameOf(logPrefix, j.newest), err)
	}
	j.unsure = false
	return nil
}

// Size returns how many bytes the files take.
func (j *Journal) Size() int64 { return j.baseSize + j.logSize }

// IsDue says whether the journal should be rewritten: its logs have outgrown what
// they are based on, or there are many, or a file is damaged.
func (j *Journal) IsDue() bool {
	return j.err == nil && (j.logSize > max(j.baseSize, minRewrite) || len(j.logs) > maxLogs || len(j.hurt) > 0)
}

// Rewrite is a base that is being written.
type Rewrite struct {
	fs      FS
	number  uint64
	file    File
	batch   Batch
	records uint64
	size    int64
	old     []string // the files that it replaces, in order
}

// BeginRewrite begins a new base, and a new log, which has what changes from now
// on. What is held from now on, in any order and each record as it is at some
// moment, is then added, and the rewrite is ended by EndRewrite or given up.
func (j *Journal) BeginRewrite() (*Rewrite, error) {
	if err := j.Sync(); err != nil {
		return nil, err
	}
	old := j.files()
	if err := j.log.Close(); err != nil {
		return nil, j.fail("close", nameOf(logPrefix, j.newest), err)
	}
	if err := j.begin(); err != nil {
		return nil, err
	}
	name := nameOf(basePrefix, j.newest) + unfinished
	file, err := j.fs.Create(name)
	if err != nil {
		return nil, j.fail("begin", name, err)
	}
	return &Rewrite{fs: j.fs, number: j.newest, file: file, old: old}, nil
}

// files returns the names of the base in force and of the logs since, in order.
func (j *Journal) files() (names []string) {
	if j.base > 0 {
		names = append(names, nameOf(basePrefix, j.base))
	}
	for _, n := range j.logs {
		names = append(names, nameOf(logPrefix, n))
	}
	return names
}

// Add adds a record. After an error the rewrite is to be given up.
func (r *Rewrite) Add(rec *session.Record) error {
	r.batch.Put(rec)
	r.records++
	if r.batch.Bytes() < BatchBytes {
		return nil
	}
	return r.flush()
}

// Carry adds what keep wants of the tombstones in the files that the rewrite
// replaces: those that are held without their keys, which Add cannot be given.
func (r *Rewrite) Carry(keep func(tombstone *session.Record) bool) error {
	for _, name := range r.old {
		if err := r.carryFile(name, carrier{r, keep}); err != nil {
			return fmt.Errorf("carry over tombstones from %s: %w", name, err)
		}
	}
	return nil
}

func (r *Rewrite) carryFile(name string, to carrier) (err error) {
	f, err := r.fs.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := newScanner(f)
	for {
		body, _ := s.next()
		if body == nil {
			if errors.Is(s.err, io.EOF) {
				return nil
			}
			return s.err
		}
		var end uint64
		if err := replay(body, to, &end); err != nil {
			return err
		}
	}
}

// carrier is a Replayer that adds to a rewrite.
type carrier struct {
	to   *Rewrite
	keep func(tombstone *session.Record) bool
}

func (c carrier) Put(rec *session.Record) error {
	if rec.Dead() && c.keep(rec) {
		return c.to.Add(rec)
	}
	return nil
}

func (carrier) Forget(string) {}
func (carrier) Clear(int)     {}

func (r *Rewrite) flush() error {
	n, err := r.file.Write(r.batch.seal())
	r.size += int64(n)
	r.batch.Reset()
	if err != nil {
		return fmt.Errorf("write %s: %w", nameOf(basePrefix, r.number), err)
	}
	return nil
}

// Finish writes what is left, and returns when the base is on the disk. It is in
// force after EndRewrite.
func (r *Rewrite) Finish() error {
	r.batch.op(opEnd)
	r.batch.frame = binary.AppendUvarint(r.batch.frame, r.records)
	if err := r.flush(); err != nil {
		return err
	}
	if err := errors.Join(r.file.Sync(), r.file.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", nameOf(basePrefix, r.number), err)
	}
	return nil
}

// GiveUp removes what was written. The logs stay as they are.
func (r *Rewrite) GiveUp() error {
	return errors.Join(r.file.Close(), r.fs.Remove(nameOf(basePrefix, r.number)+unfinished))
}

// EndRewrite puts a base in force that is finished, and removes what it covers.
func (j *Journal) EndRewrite(r *Rewrite) error {
	if j.err != nil {
		return j.err
	}
	name := nameOf(basePrefix, r.number)
	if err := errors.Join(j.fs.Rename(name+unfinished, name), j.fs.Sync(".")); err != nil {
		return j.fail("put in force", name, err)
	}
	old := []string{}
	if j.base > 0 {
		old = append(old, nameOf(basePrefix, j.base))
	}
	for len(j.logs) > 0 && j.logs[0] < r.number {
		old = append(old, nameOf(logPrefix, j.logs[0]))
		j.logs = j.logs[1:]
	}
	j.base, j.baseSize = r.number, r.size
	for _, name := range old {
		if err := j.drop(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return j.fail("remove", name, err)
		}
	}
	return j.measure()
}

// drop removes a file that is not needed any more, or sets it aside if it was
// damaged.
func (j *Journal) drop(name string) error {
	if j.hurt[name] {
		delete(j.hurt, name)
		return j.fs.Rename(name, damaged+name)
	}
	return j.fs.Remove(name)
}

// measure finds out how large the logs are.
func (j *Journal) measure() error {
	files, err := j.fs.List()
	if err != nil {
		return j.fail("list", "files", err)
	}
	j.logSize = 0
	for _, f := range files {
		if _, ok := numberOf(logPrefix, f.Name); ok {
			j.logSize += f.Size
		}
	}
	return nil
}

// Close syncs and closes the files, and lets go of the directory.
func (j *Journal) Close() error {
	err := j.Sync()
	if j.log != nil {
		err = errors.Join(err, j.log.Close())
		j.log = nil
	}
	if j.err == nil {
		j.err = ErrClosed
	}
	return errors.Join(err, j.lock.Close())
}

func nameOf(prefix string, n uint64) string { return fmt.Sprintf("%s%08d", prefix, n) }

func numberOf(prefix, name string) (n uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) < 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}
