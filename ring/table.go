// Package ring says which member owns a key and which members follow. It is
// pure: a set of members goes in, an immutable Table comes out; there is no
// socket, goroutine, lock or clock.
//
// What happens to one request here: the key's tag is hashed to one of 16,384
// slots (Slot), sixteen slots make a partition (Partition), and the partition
// is an index into the Table, which holds the owner and its successors ready
// (Table.Holders). No lock is taken and nothing is allocated.
//
// What happens on a change of membership: New builds a whole new Table from the
// new set, off the request path, and the caller swaps it in. A Table depends on
// the set of members and the Params alone, not on the order in which members
// arrived, so any two members that know the same set name the same owner for
// every key; Table.Fingerprint shows in one word whether they do.
//
// The first successor of a partition is the member that would own it if the
// owner were gone: its owner in the table that is built without that member. So
// when an owner dies, its partitions pass to members that already hold the
// copies, spread over all survivors, and failover moves no data.
package ring

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Table says who owns each partition and who follows, for one set of members.
// It is immutable and safe for use by any number of goroutines. Methods that
// take a partition panic when it is not within 0 to Partitions-1: partitions
// come from Partition, and any other number is a bug in the calling program.
type Table struct {
	params      Params
	members     []string // sorted
	owned       map[string]int
	fingerprint string

	holders [Partitions][]string // owner, then successors; views of one slice
	next    [Partitions]string
}

// New builds the table of a set of members given in any order. No members make
// a valid table that is empty. The error is about a parameter out of range, an
// empty name or a name given twice, and says which.
//
// It takes 1.5 ms for 3 members, 6 ms for 10 and 70 ms for 50: call it once for
// each change of membership, not for each request.
func New(members []string, p Params) (*Table, error) {
	p = p.withDefaults()
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("build ring: %w", err)
	}
	names := slices.Sorted(slices.Values(members))
	if err := checkNames(names); err != nil {
		return nil, fmt.Errorf("build ring: %w", err)
	}

	t := &Table{
		params:      p,
		members:     slices.Clip(names),
		owned:       make(map[string]int, len(names)),
		fingerprint: fingerprint(names, p),
	}
	for _, name := range names {
		t.owned[name] = 0
	}
	if len(names) > 0 {
		t.fill(builder{names: names, params: p, sum: xxhash.Sum64})
	}
	return t, nil
}

// checkNames refuses what the library would panic on or take twice, and the
// empty name, which is Owner's word for nobody. The names are sorted.
func checkNames(names []string) error {
	for i, name := range names {
		if name == "" {
			return fmt.Errorf("member %q: a name of at least one byte is accepted", name)
		}
		if i > 0 && name == names[i-1] {
			return fmt.Errorf("member %q given twice: each name is accepted once", name)
		}
	}
	return nil
}

// fill writes down the holders and the first successor of each partition.
func (t *Table) fill(b builder) {
	owners, next := b.place()
	width := min(t.params.Copies, len(t.members))
	all := make([]string, 0, Partitions*width)
	for p := range Partitions {
		start := len(all)
		all = append(all, t.members[owners[p]])
		if next != nil {
			t.next[p] = t.members[next[p]]
			if width > 1 {
				all = append(all, t.next[p])
			}
		}
		if width > 2 {
			for _, m := range b.followers(p, width-2, owners[p], next[p]) {
				all = append(all, t.members[m])
			}
		}
		t.holders[p] = all[start:len(all):len(all)]
		t.owned[t.holders[p][0]]++
	}
}

// Owner returns the member that serves the partition, "" when the table is
// empty.
func (t *Table) Owner(partition int) string {
	if holders := t.holders[partition]; len(holders) > 0 {
		return holders[0]
	}
	return ""
}

// Successors returns the members that hold copies of the partition beside its
// owner, the first successor first: Copies-1 of them, or all others where there
// are fewer. The slice is shared and read only.
func (t *Table) Successors(partition int) []string {
	if holders := t.holders[partition]; len(holders) > 0 {
		return holders[1:]
	}
	return nil
}

// FirstSuccessor returns the member that owns the partition once its owner is
// gone, whether or not Params.Copies gives it a copy today; "" when no other
// member is left.
func (t *Table) FirstSuccessor(partition int) string {
	return t.next[partition]
}

// Holders returns the owner of the partition and then its successors; nil when
// the table is empty. The slice is shared and read only.
func (t *Table) Holders(partition int) []string {
	return t.holders[partition]
}

// Members returns all members, sorted. The slice is shared and read only.
func (t *Table) Members() []string {
	return t.members
}

// Has says whether member is one of the members.
func (t *Table) Has(member string) bool {
	_, ok := t.owned[member]
	return ok
}

// Owned returns the number of partitions that member owns, 0 for a stranger.
func (t *Table) Owned(member string) int {
	return t.owned[member]
}

// Params returns the parameters of the table, defaults filled in.
func (t *Table) Params() Params {
	return t.params
}

// Fingerprint returns 16 hexadecimal digits that are equal for two tables when
// their members and parameters are, and, but for a collision of 64-bit hashes,
// only then. Equal fingerprints mean the same owner for every key.
func (t *Table) Fingerprint() string {
	return t.fingerprint
}

// fingerprint hashes the parameters and the sorted names. Each part goes in
// with its length before it, so that {"a", "bc"} and {"ab", "c"} differ.
func fingerprint(names []string, p Params) string {
	var b []byte
	for _, part := range append([]string{p.String()}, names...) {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return fmt.Sprintf("%016x", xxhash.Sum64(b))
}
