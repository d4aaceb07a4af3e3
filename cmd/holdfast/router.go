package main

import (
	"context"

	"github.com/seed-95a32959/holdfast/node"
)

type routerCommand struct {
	placeFlags
	memberFlags

	NoAPI bool `name:"no-api" group:"Finding the user of a request" help:"Answer 404 under /v1/: visitors of an application have no business there, since they could write their own session."`
}

func (*routerCommand) Detail() string {
	return `A router holds no sessions. It joins the cluster to know the ring, finds the user in each
request, and passes the request to the node that owns the user; when that node is gone, to its
successor:

  holdfast router -join 127.0.0.1:8084 -http 127.0.0.1:8070 \
      -admin 127.0.0.1:8071 -gossip 127.0.0.1:8074

Any number of routers can stand side by side behind a plain load balancer: all of them name
the same owner. They accept one another's cookies when they have the same -secret-file.`
}

func (c *routerCommand) Run(ctx context.Context, s *streams) error {
	cfg, err := c.config(node.RoleRouter, &c.placeFlags, s.err)
	if err != nil {
		return err
	}
	cfg.NoAPI = c.NoAPI
	return serve(ctx, cfg, c.keyFiles())
}
