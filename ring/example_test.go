package ring_test

import (
	"fmt"

	"github.com/seed-95a32959/holdfast/ring"
)

func Example() {
	table, err := ring.New([]string{"node-1", "node-2", "node-3"}, ring.Params{})
	if err != nil {
		panic(err)
	}
	p := ring.Partition("{alice}:laptop")
	fmt.Println("partition", p, "owner", table.Owner(p), "successors", table.Successors(p))

	// When the owner is gone, the first successor owns the partition.
	table, err = ring.New(without(table.Members(), table.Owner(p)), ring.Params{})
	if err != nil {
		panic(err)
	}
	fmt.Println("partition", p, "owner", table.Owner(p), "successors", table.Successors(p))

	// Output:
	// partition 46 owner node-1 successors [node-3]
	// partition 46 owner node-3 successors [node-2]
}
