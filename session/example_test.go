package session_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// newStore makes the store of a node that owns the key's partition.
func newStore(key string, now func() time.Time) *session.Store {
	store, err := session.NewStore(session.Config{
		Now:         now,
		Partitions:  ring.Partitions,
		PartitionOf: ring.Partition,
		TagOf:       func(key string) (string, bool) { tag := ring.Tag(key); return tag, tag != key },
	})
	if err != nil {
		panic(err)
	}
	store.Open(ring.Partition(key))
	return store
}

// A session is written whole, changed in single fields, and read.
func Example() {
	store := newStore("alice", time.Now)

	_, err := store.Do(&session.Op{
		Kind: session.Put, Key: "alice", TTL: 30 * time.Minute,
		Fields: []session.Field{{Name: "theme", Value: `"dark"`}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = store.Do(&session.Op{
		Kind: session.Patch, Key: "alice",
		Fields: []session.Field{{Name: "cart", Value: `["book"]`}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	rec, err := store.Get("alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	for f := range rec.Fields() {
		fmt.Println(f.Name, f.Value)
	}
	// Output:
	// cart ["book"]
	// theme "dark"
}

// A logout sticks, also where a copy of the session has been written to since,
// with a later stamp. Each copy merges what the other one has, and both become
// equal.
func ExampleMerge() {
	ahead := func() time.Time { return time.Now().Add(time.Second) }
	owner, other := newStore("alice", time.Now), newStore("alice", ahead)

	put := &session.Op{Kind: session.Put, Key: "alice", Fields: []session.Field{{Name: "theme", Value: `"dark"`}}}
	created, err := owner.Do(put)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := other.Merge(created.Record); err != nil { // the copy
		fmt.Println(err)
		return
	}

	// The two sides of a cut network: one logs out, the other saves afterwards.
	deleted, err := owner.Do(&session.Op{Kind: session.Delete, Key: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	saved, err := other.Do(&session.Op{Kind: session.Patch, Key: "alice", Fields: []session.Field{{Name: "theme", Value: `"light"`}}})
	if err != nil {
		fmt.Println(err)
		return
	}

	here := session.Merge(deleted.Record, saved.Record)
	there := session.Merge(saved.Record, deleted.Record)
	fmt.Println("saved later:", saved.Record.Version() > deleted.Record.Rank())
	fmt.Println("logged out:", here.Dead())
	fmt.Println("equal:", here.Hash() == there.Hash())
	// Output:
	// saved later: true
	// logged out: true
	// equal: true
}

// A write can be made on the condition that no other write has come since the
// session was read.
func ExampleOp() {
	store := newStore("alice", time.Now)
	put := session.Op{Kind: session.Put, Key: "alice", Fields: []session.Field{{Name: "tries", Value: "1"}}}
	first, err := store.Do(&put)
	if err != nil {
		fmt.Println(err)
		return
	}

	patch := session.Op{
		Kind: session.Patch, Key: "alice", IfVersion: first.Record.Version(),
		Fields: []session.Field{{Name: "tries", Value: "2"}},
	}
	for range 2 {
		_, err = store.Do(&patch)
		fmt.Println(err == nil, errors.Is(err, session.ErrPrecondition))
	}
	// Output:
	// true false
	// false true
}

// List reads all sessions of one user: those whose keys have the same {tag}.
func ExampleStore_Do_list() {
	store := newStore("{alice}", time.Now)
	for _, key := range []string{"{alice}:phone", "{alice}:laptop"} {
		_, err := store.Do(&session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "seen", Value: "true"}}})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	all, err := store.Do(&session.Op{Kind: session.List, Key: "{alice}"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, rec := range all.Records {
		fmt.Println(rec.Key())
	}
	// Output:
	// {alice}:laptop
	// {alice}:phone
}
