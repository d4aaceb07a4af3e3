package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// flipNodes is of how many nodes the cluster is.
	flipNodes = 3
	// mostFlips is how many bytes of a directory are changed at most.
	mostFlips = 20
	// truncateEvery is in which rounds a file is cut short, and emptyEvery in which
	// of the others the whole directory is emptied.
	truncateEvery, emptyEvery = 3, 4
	// setAside is how soon after the start a file that is damaged has been
	// replaced: a node that has some work to do begins with it at once.
	setAside = 30 * time.Second
)

// flips are full stops after which one node's files are damaged.
type flips struct {
	*fullStop
	dir string // of all nodes' directories

	flipped, truncated, emptied int // rounds
	bytes                       int // flipped
	torn                        int // of them that cannot be told from a torn end
	hurt                        int // files that are damaged for sure
	silent                      []string
	kept                        []string // that were not set aside
}

// runFlip flips bytes of one node's files while all nodes are stopped.
func runFlip(ctx context.Context, e *env, r *report) error {
	dir := filepath.Join(e.dir, "disks")
	small := *e
	small.nodes = flipNodes
	b, err := small.newBenchAt(ctx, loopback(e.basePort), func(m *member) {
		if m.Node {
			m.extra = append(m.extra, "-data-dir", filepath.Join(dir, m.Name))
		}
	})
	if err != nil {
		return err
	}
	defer b.close()
	f := &flips{fullStop: &fullStop{bench: b, may: stopSync, undone: make(map[string]bool)}, dir: dir}
	for ; f.rounds < e.count; f.rounds++ {
		if err := f.round(ctx, e); err != nil {
			return fmt.Errorf("damage %d: %w", f.rounds+1, err)
		}
		e.progress("damage %d of %d: %s, %d damages not told", f.rounds+1, e.count, f.sofar(), len(f.silent))
	}
	f.rows(r)
	return nil
}

// round stops all nodes, damages the files of one, and starts them.
func (f *flips) round(ctx context.Context, e *env) error {
	at, err := f.stop(ctx, e, false)
	if err != nil {
		return err
	}
	m := f.nodes()[e.random.IntN(len(f.nodes()))]
	hurt, err := f.damage(e, m)
	if err != nil {
		return err
	}
	log := filepath.Join(f.cluster.dir, m.Name+".log")
	before, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	if err := f.back(ctx, e, at); err != nil {
		return err
	}
	told, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	for _, name := range hurt {
		f.hurt++
		if !slices.ContainsFunc(strings.Split(string(told[len(before):]), "\n"), func(line string) bool {
			return strings.Contains(line, "a file of the journal is damaged") && strings.Contains(line, name)
		}) {
			f.silent = append(f.silent, fmt.Sprintf("damage %d: %s of %s", f.rounds+1, name, m.Name))
		}
	}
	return f.aside(ctx, m, hurt)
}

// aside waits until the files that were damaged have been set aside.
func (f *flips) aside(ctx context.Context, m *member, hurt []string) error {
	deadline := time.Now().Add(setAside)
	for _, name := range hurt {
		for {
			_, err := os.Stat(filepath.Join(f.dir, m.Name, "damaged-"+name))
			if err == nil {
				break
			}
			if !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if time.Now().After(deadline) {
				f.kept = append(f.kept, fmt.Sprintf("damage %d: %s of %s", f.rounds+1, name, m.Name))
				break
			}
			if !nursery.Sleep(ctx, 50*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// damage does a node's files some harm, and returns the names of those that no
// start can take for whole ones.
//
// A journal ends with what its process was writing when it ended, which may be
// there in part. So whatever is done to the last frame of the newest log looks
// like that, and so does the loss of its end, however long: such harm is not
// told. It is the same with an end of an older log that is cut off between two
// frames. A base says itself that it is whole.
func (f *flips) damage(e *env, m *member) (hurt []string, err error) {
	files, err := filepath.Glob(filepath.Join(f.dir, m.Name, "[bl]*-*")) // bases and logs
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%s has %d files to damage", m.Name, len(files)))
	}
	newest := slices.MaxFunc(files, func(a, b string) int {
		return strings.Compare(strings.TrimPrefix(filepath.Base(a), "base-"), strings.TrimPrefix(filepath.Base(b), "base-"))
	}) // "log-" is after any digit
	switch n := f.rounds + 1; {
	case n%truncateEvery == 0:
		f.truncated++
		return f.truncate(e, m, files, newest)
	case n%emptyEvery == 0:
		f.emptied++
		e.say("damage %d: the directory of %s is emptied", n, m.Name)
		return nil, os.RemoveAll(filepath.Join(f.dir, m.Name))
	}
	f.flipped++
	return f.flip(e, m, files, newest)
}

// truncate cuts one file short.
func (f *flips) truncate(e *env, m *member, files []string, newest string) (hurt []string, err error) {
	path := files[e.random.IntN(len(files))]
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name, size := filepath.Base(path), e.random.IntN(len(b)+1)
	e.say("damage %d: %s of %s is cut to %d of %d bytes", f.rounds+1, name, m.Name, size, len(b))
	isBase, between := strings.HasPrefix(name, "base-"), slices.Contains(frames(b), size)
	if path != newest && size < len(b) && (isBase || !between) {
		hurt = append(hurt, name)
	}
	return hurt, os.Truncate(path, int64(size))
}

// flip changes bytes of a node's files.
func (f *flips) flip(e *env, m *member, files []string, newest string) (hurt []string, err error) {
	at := make(map[string][]int) // offsets that are changed, by file
	for range 1 + e.random.IntN(mostFlips) {
		path := files[e.random.IntN(len(files))]
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.Size() == 0 { // a log in which nothing has been written
			continue
		}
		if i := e.random.IntN(int(info.Size())); !slices.Contains(at[path], i) {
			at[path] = append(at[path], i)
		}
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sure := len(b)
		if path == newest {
			sure = lastIntact(b, at[path])
		}
		if slices.ContainsFunc(at[path], func(i int) bool { return i < sure }) {
			hurt = append(hurt, filepath.Base(path))
		}
		for _, i := range at[path] {
			if f.bytes++; i >= sure {
				f.torn++
			}
			b[i] = ^b[i]
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return nil, err
		}
	}
	e.say("damage %d: bytes of %s are flipped, in %v for sure", f.rounds+1, m.Name, hurt)
	return hurt, nil
}

// lastIntact returns where the last frame begins in which no byte is changed, 0
// for none.
func lastIntact(b []byte, changed []int) (begins int) {
	bounds := frames(b)
	for i, begin := range bounds[:len(bounds)-1] {
		if !slices.ContainsFunc(changed, func(at int) bool { return at >= begin && at < bounds[i+1] }) {
			begins = begin
		}
	}
	return begins
}

// frames returns where the frames begin that a file has in whole, and where the
// last of them ends. A frame has a header of 12 bytes, of which the second four
// are the length of what follows it.
func frames(b []byte) (bounds []int) {
	const header = 12
	at := 0
	for bounds = append(bounds, at); len(b)-at >= header; bounds = append(bounds, at) {
		if at += header + int(binary.LittleEndian.Uint32(b[at+4:])); at > len(b) {
			break
		}
	}
	return bounds
}

func (f *flips) rows(r *report) {
	r.figure("full stops with damage to one node's files", "%d of %d nodes: %d with %d bytes flipped, %d with a file cut short, %d with the directory emptied",
		f.rounds, len(f.nodes()), f.flipped, f.bytes, f.truncated, f.emptied)
	r.figure("flipped bytes that cannot be told from a torn end", "%d", f.torn)
	f.fullStop.rows(r)
	r.never("damaged files of which the log says nothing", len(f.silent), f.hurt, f.silent)
	r.promise("damaged files that were not set aside", thousands(len(f.kept)), fmt.Sprintf("0 after %v", setAside), len(f.kept) == 0, f.kept)
}
