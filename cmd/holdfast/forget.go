package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

type forgetCommand struct {
	adminFlags
	Name []string `arg:"" name:"name" help:"Names of members, as holdfast status says them."`
}

func (*forgetCommand) Detail() string {
	return `A node or router that ends without leaving is missing until it is back under its name: holdfast status and the
dashboard say so, whatever time passes. Sessions of which every holder has ended are counted as lost, and stay so. This
command says that an operator knows of it, and that the member does not come back. It changes nothing else: no session,
no copy, and not who owns what. Any member of the cluster takes it, and tells the others.

  holdfast status                  # wrong: node-3 is missing …
  holdfast forget node-3

A member that is to go in order needs none of it: SIGTERM or holdfast drain.`
}

func (c *forgetCommand) Run(ctx context.Context, s *streams) error {
	for _, name := range c.Name {
		said, err := forgetMember(ctx, c.Admin, name)
		if err != nil {
			return err
		}
		text := said.Name + " is forgotten"
		if said.Sessions > 0 {
			text += fmt.Sprintf(", and that about %s lost with it is known", plural(said.Sessions, "session"))
		}
		if len(said.Silent) > 0 {
			text += fmt.Sprintf("; %s did not answer, and will hear of it", strings.Join(said.Silent, ", "))
		}
		if _, err := fmt.Fprintln(s.out, text); err != nil {
			return err
		}
	}
	return nil
}

func forgetMember(ctx context.Context, base adminURL, name string) (said adminapi.Forget, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	resp, err := sendAdmin(ctx, http.MethodPost, base, "/admin/forget?name="+url.QueryEscape(name))
	if err != nil {
		return said, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&said); err != nil || said.Name != name {
		return said, noMember(base, fmt.Errorf("answer about %q to forget %q: %w", said.Name, name, err))
	}
	return said, nil
}
