package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// notApplicable is what IAM writes for the service and region of a key that was never used.
const notApplicable = "N/A"

// Users lists every user of the account and hands each page to each, which is not called concurrently and
// whose error ends the listing and is returned as it is. Filled in are Name, ARN, Path, ID, Created, and
// PasswordLastUsed where AWS states it: its absence may mean no password, or one never used.
//
// A user that comes again on a later page is left out there: the listing moves while users come and go.
func (r *Reader) Users(ctx context.Context, each func([]fact.User) error) error {
	const action, doing = "iam:ListUsers", "list users"
	seen := map[string]bool{}
	return r.pages(ctx, action, doing, "", func(marker *string) (*string, bool, error) {
		out, err := r.iam.ListUsers(ctx, &iam.ListUsersInput{Marker: marker, MaxItems: aws.Int32(pageSize)})
		if err != nil {
			return nil, false, r.fail(ctx, action, doing, "", err)
		}
		if out.Users == nil {
			return nil, false, r.unusable(ctx, action, doing, "", "it holds no list of users")
		}
		users := make([]fact.User, 0, len(out.Users))
		for _, u := range out.Users {
			if aws.ToString(u.UserName) == "" || aws.ToString(u.Arn) == "" || u.CreateDate == nil {
				return nil, false, r.unusable(ctx, action, doing, "",
					"user %q lacks a name, an ARN or a creation date", aws.ToString(u.UserName))
			}
			who := identity(u)
			if seen[who] {
				continue
			}
			seen[who] = true
			users = append(users, userOf(u))
		}
		if err := each(users); err != nil {
			return nil, false, err
		}
		return out.Marker, out.IsTruncated, nil
	})
}

// identity tells users apart: by the unique id, or else by the name, which knows no case.
func identity(u types.User) string {
	if id := aws.ToString(u.UserId); id != "" {
		return "id " + id
	}
	return "name " + strings.ToLower(aws.ToString(u.UserName))
}

// userOf holds what AWS states of a user itself.
func userOf(u types.User) fact.User {
	return fact.User{
		Name: aws.ToString(u.UserName), ARN: aws.ToString(u.Arn), ID: aws.ToString(u.UserId),
		Path:    orDefault(aws.ToString(u.Path), "/"),
		Created: at(u.CreateDate), PasswordLastUsed: at(u.PasswordLastUsed),
	}
}

// at is unknown for nil.
func at(t *time.Time) fact.Time { return fact.At(aws.ToTime(t)) }

// Keys lists every access key of a user; more than two are possible. A status other than Active counts as
// inactive. LastUsed is left unknown: see LastUse.
func (c *client) Keys(ctx context.Context, user string) ([]fact.Key, error) {
	const action = "iam:ListAccessKeys"
	doing := fmt.Sprintf("list access keys of user %q", user)
	if err := c.nameless(ctx, action, doing, user); err != nil {
		return nil, err
	}
	var keys []fact.Key
	err := c.pages(ctx, action, doing, user, func(marker *string) (*string, bool, error) {
		out, err := c.iam.ListAccessKeys(ctx, &iam.ListAccessKeysInput{
			UserName: &user, Marker: marker, MaxItems: aws.Int32(pageSize),
		})
		if err != nil {
			return nil, false, c.fail(ctx, action, doing, user, err)
		}
		if out.AccessKeyMetadata == nil {
			return nil, false, c.unusable(ctx, action, doing, user, "it holds no list of keys")
		}
		for _, k := range out.AccessKeyMetadata {
			if aws.ToString(k.AccessKeyId) == "" || k.Status == "" {
				return nil, false, c.unusable(ctx, action, doing, user, "a key lacks its id or its status")
			}
			keys = append(keys, fact.Key{
				ID: *k.AccessKeyId, Active: k.Status == types.StatusTypeActive, Created: at(k.CreateDate),
			})
		}
		return out.Marker, out.IsTruncated, nil
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// nameless refuses an empty user name: without one, IAM answers about the caller.
func (c *client) nameless(ctx context.Context, action, doing, user string) error {
	if user != "" {
		return nil
	}
	return c.fail(ctx, action, doing, user, errors.New("the user name is empty"))
}

// LastUse is the last use that AWS recorded of a key, or Never, which also stands for a use before
// 2015-04-22. It lags by minutes, so it proves nothing about a young key. Never is the answer only where
// AWS names neither a date nor a service.
//
// About a key that no longer exists AWS is said to answer AccessDenied and not NoSuchEntity: ErrDenied for
// one key, where others are answered, may mean that it is gone.
func (c *client) LastUse(ctx context.Context, keyID string) (fact.Use, error) {
	const action = "iam:GetAccessKeyLastUsed"
	doing := fmt.Sprintf("read the last use of key %q", keyID)
	if keyID == "" {
		return fact.Use{}, c.fail(ctx, action, doing, keyID, errors.New("the key id is empty"))
	}
	out, err := c.iam.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: &keyID})
	if err != nil {
		return fact.Use{}, c.fail(ctx, action, doing, keyID, err)
	}
	last := out.AccessKeyLastUsed
	if last == nil {
		return fact.Use{}, c.unusable(ctx, action, doing, keyID, "it holds no last use")
	}
	use := fact.Use{At: at(last.LastUsedDate), Service: aws.ToString(last.ServiceName), Region: aws.ToString(last.Region)}
	if use.At.Known() {
		return use, nil
	}
	if use.Service != notApplicable {
		return fact.Use{}, c.unusable(ctx, action, doing, keyID, "no date of use, but service %q", use.Service)
	}
	return fact.Use{At: fact.Never()}, nil
}

// Password tells whether a user has a console password. AWS answers NoSuchEntity both for a user without
// one and for a user that is gone: No is the answer to both, so ask only about users just listed.
func (r *Reader) Password(ctx context.Context, user string) (fact.Answer, error) {
	const action = "iam:GetLoginProfile"
	doing := fmt.Sprintf("look for a password of user %q", user)
	if err := r.nameless(ctx, action, doing, user); err != nil {
		return fact.Unknown, err
	}
	out, err := r.iam.GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: &user})
	if err != nil {
		err = r.fail(ctx, action, doing, user, err)
		if errors.Is(err, ErrNotFound) {
			return fact.No, nil
		}
		return fact.Unknown, err
	}
	if out.LoginProfile == nil {
		return fact.Unknown, r.unusable(ctx, action, doing, user, "it holds no login profile")
	}
	return fact.Yes, nil
}

// Tags are the tags of a user; an empty map, never nil, when it has none.
func (r *Reader) Tags(ctx context.Context, user string) (map[string]string, error) {
	const action = "iam:ListUserTags"
	doing := fmt.Sprintf("list tags of user %q", user)
	if err := r.nameless(ctx, action, doing, user); err != nil {
		return nil, err
	}
	tags := map[string]string{}
	err := r.pages(ctx, action, doing, user, func(marker *string) (*string, bool, error) {
		out, err := r.iam.ListUserTags(ctx, &iam.ListUserTagsInput{
			UserName: &user, Marker: marker, MaxItems: aws.Int32(pageSize),
		})
		if err != nil {
			return nil, false, r.fail(ctx, action, doing, user, err)
		}
		if out.Tags == nil {
			return nil, false, r.unusable(ctx, action, doing, user, "it holds no list of tags")
		}
		for _, tag := range out.Tags {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
		return out.Marker, out.IsTruncated, nil
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}
