package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/compattest"
)

// spell is all that a record says.
func spell(r *Record) string {
	s := fmt.Sprintf("%q version=%d dead=%t expiry=%+v", r.Key(), r.Version(), r.Dead(), r.Expiry())
	for f := range r.Fields() {
		s += fmt.Sprintf(" %s=%q", f.Name, f.Value)
	}
	return s
}

func TestRecordsOfReleases(t *testing.T) {
	t.Parallel()
	store, err := NewStore(Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false },
		Now: func() time.Time { return time.UnixMilli(1_700_000_000_000) },
	})
	require.NoError(t, err)
	store.Open(0)
	records, results := make(map[string][]byte), make(map[string][]byte)
	ops := map[string]*Op{
		"of one field":     {Kind: Put, Key: "alice", TTL: time.Minute, Fields: []Field{{Name: "cart", Value: "3"}}},
		"opaque":           {Kind: Put, Key: "frank", TTL: time.Hour, Fields: []Field{{Name: "", Value: "\x00\xff"}}},
		"of many fields":   {Kind: Put, Key: "{bob}:phone", TTL: time.Hour, MaxAge: 24 * time.Hour, Fields: []Field{{Name: "0", Value: "\x00\xff"}, {Name: "a", Value: ""}, {Name: "b", Value: "long enough to be more than one byte of length, which is 128 and above: 0123456789012345678901234567890123456789012345678901234567890"}}},
		"that never ends":  {Kind: Put, Key: "carol", TTL: -1, Fields: []Field{{Name: "f", Value: "1"}}},
		"with conditions":  {Kind: Put, Key: "dave", Create: true, Revive: true, Fields: []Field{{Name: "f", Value: "1"}}},
		"that takes away":  {Kind: Patch, Key: "alice", Fields: []Field{{Name: "cart", Absent: true}, {Name: "name", Value: "Alice"}}},
		"that ends one":    {Kind: Delete, Key: "carol"},
		"that renames one": {Kind: Rotate, Key: "dave", NewKey: "eve"},
		"that reads":       {Kind: Get, Key: "alice"},
	}
	written := make(map[string][]byte)
	for name, op := range ops {
		written[name] = op.Append(nil)
	}
	for _, name := range []string{"of one field", "of many fields", "that never ends", "with conditions", "that takes away", "that ends one", "that renames one", "opaque"} {
		res, err := store.Do(ops[name])
		require.NoError(t, err, name)
		results[name] = res.Append(nil)
		for _, key := range []string{ops[name].Key, ops[name].NewKey} {
			if rec := store.Peek(key); rec != nil {
				records[name+": "+key] = rec.Append(nil)
			}
		}
	}
	compattest.Run(t, "operations", written, func(b []byte) (string, error) {
		op, _, err := DecodeOp(b)
		if err != nil {
			return "", err
		}
		s := fmt.Sprintf("%v %q %q ttl=%v max-age=%v version=%d nested=%t exists=%t create=%t revive=%t", op.Kind, op.Key, op.NewKey, op.TTL, op.MaxAge, op.IfVersion, op.Nested, op.Exists, op.Create, op.Revive)
		for _, f := range op.Fields {
			s += fmt.Sprintf(" %s=%q absent=%t", f.Name, f.Value, f.Absent)
		}
		return s, nil
	})
	compattest.Run(t, "records", records, func(b []byte) (string, error) {
		rec, _, err := DecodeRecord(b)
		if err != nil {
			return "", err
		}
		return spell(rec), nil
	})
	compattest.Run(t, "results", results, func(b []byte) (string, error) {
		res, _, err := DecodeResult(b)
		s := fmt.Sprintf("created=%t changed=%t until=%d", res.Created, res.Changed, res.Until)
		if res.Record != nil {
			s += " " + spell(res.Record)
		}
		return s, err
	})
}
