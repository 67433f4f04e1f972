package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/keyreeve/keyreeve/internal/fact"
)

const (
	actionUpdateKey = "iam:UpdateAccessKey"
	actionDeleteKey = "iam:DeleteAccessKey"
)

// preflightKey is an access key id that cannot exist: AWS writes its ids in base 32, which has no 0, 1, 8
// and 9. Its length and its characters pass for an id.
const preflightKey = "KEYREEVE0PREFLIGHT18"

// LookActions are the IAM actions with which a Writer looks before and after it acts, sorted.
func LookActions() []string {
	return []string{"iam:GetAccessKeyLastUsed", "iam:GetUser", "iam:ListAccessKeys", "iam:ListEntitiesForPolicy"}
}

// ActActions are the IAM actions with which a Writer changes keys, sorted.
func ActActions() []string { return []string{actionDeleteKey, actionUpdateKey} }

// RemediateActions are all IAM actions of a Writer, sorted, as a policy names them. sts:GetCallerIdentity
// needs no permission; to assume Settings.RoleARN is a matter of the credentials before it.
func RemediateActions() []string {
	return slices.Sorted(slices.Values(append(LookActions(), ActActions()...)))
}

// Writer changes access keys of one account: their status, and whether they are there. It reads no more
// than it takes to look before and after, so it cannot audit, as a Reader cannot act. It is safe for
// concurrent use.
//
// Every change may be repeated with the same result, and is, within Settings.MaxAttempts. A failure whose
// effect nobody knows is fact.ErrUnclear beside its kind: some attempt reached AWS and its answer did not
// come, came in part, or was a fault of AWS's own. Then also ErrNotFound proves nothing, for an attempt
// before may have deleted the key. A failure without it changed nothing.
type Writer struct{ *client }

// OpenWriter prepares a Writer from settings of its own and calls nobody, as Open does for a Reader.
func OpenWriter(ctx context.Context, s Settings) (*Writer, error) {
	c, err := connect(ctx, s, purposeRemediate)
	if err != nil {
		return nil, err
	}
	return &Writer{c}, nil
}

// User reads a user as it is now: what Reader.Users tells of it, and its tags. Everything else is left
// unknown. ErrNotFound when there is none of that name.
func (w *Writer) User(ctx context.Context, name string) (fact.User, error) {
	const action = "iam:GetUser"
	doing := fmt.Sprintf("read user %q", name)
	if err := w.nameless(ctx, action, doing, name); err != nil {
		return fact.User{}, err
	}
	out, err := w.iam.GetUser(ctx, &iam.GetUserInput{UserName: &name})
	if err != nil {
		return fact.User{}, w.fail(ctx, action, doing, name, err)
	}
	if out.User == nil {
		return fact.User{}, w.unusable(ctx, action, doing, name, "it holds no user")
	}
	u := userOf(*out.User)
	switch {
	case !strings.EqualFold(u.Name, name):
		return fact.User{}, w.unusable(ctx, action, doing, name, "it is about user %q", u.Name)
	case u.ID == "" || u.ARN == "" || !u.Created.Known():
		return fact.User{}, w.unusable(ctx, action, doing, name, "the user lacks an id, an ARN or a creation date")
	}
	// AWS returns the tags with the user, and no list where there are none.
	u.Tags, u.TagsRead = map[string]string{}, true
	for _, tag := range out.User.Tags {
		u.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return u, nil
}

// SetActive activates or deactivates a key; one that is so already stays so, without an error. A change may
// show in Keys seconds later. ErrNotFound when the user has no such key, or there is no such user.
func (w *Writer) SetActive(ctx context.Context, user, keyID string, active bool) error {
	verb, status := "deactivate", types.StatusTypeInactive
	if active {
		verb, status = "activate", types.StatusTypeActive
	}
	return w.change(ctx, actionUpdateKey, verb, user, keyID, func() error { return w.update(ctx, user, keyID, status) })
}

// DeleteKey deletes a key for good, active or not. ErrNotFound when the user has no such key, or there is no
// such user.
func (w *Writer) DeleteKey(ctx context.Context, user, keyID string) error {
	return w.change(ctx, actionDeleteKey, "delete", user, keyID, func() error { return w.remove(ctx, user, keyID) })
}

func (w *Writer) update(ctx context.Context, user, keyID string, status types.StatusType) error {
	_, err := w.iam.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &user, AccessKeyId: &keyID, Status: status})
	return err
}

func (w *Writer) remove(ctx context.Context, user, keyID string) error {
	_, err := w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &user, AccessKeyId: &keyID})
	return err
}

// change makes one call that changes a key, and says of a failure whether it may have taken effect.
func (w *Writer) change(ctx context.Context, action, verb, user, keyID string, call func() error) error {
	doing := fmt.Sprintf("%s key %q of user %q", verb, keyID, user)
	if err := w.nameless(ctx, action, doing, user); err != nil {
		return err
	}
	if keyID == "" {
		return w.fail(ctx, action, doing, keyID, errors.New("the key id is empty"))
	}
	err := call()
	if err == nil {
		return nil
	}
	e := w.failure(ctx, action, doing, keyID, err)
	e.Unclear = errors.As(err, new(*unclear))
	return e
}

// MaySetActive asks AWS whether these credentials may activate and deactivate keys of a user, and changes
// nothing: nil for yes, ErrDenied for no, everything else is no answer.
//
// It makes the very call about a key id that cannot exist, and rests on IAM deciding about permission before
// it looks for the key. We know that order from the emulators, which follow it, and from how AWS evaluates
// policies in general; of a key that is not there AWS's documentation does not say. Should AWS look first,
// credentials without permission pass here, and are refused at the first change instead.
//
// NoSuchEntity is therefore a yes, also where it means the user: whether that exists is for User to say. The
// answer is about this user, whose path and tags a policy may name, and about now.
func (w *Writer) MaySetActive(ctx context.Context, user string) error {
	doing := fmt.Sprintf("check the permission to activate and deactivate keys of user %q", user)
	return w.may(ctx, actionUpdateKey, doing, user, func() error {
		return w.update(ctx, user, preflightKey, types.StatusTypeInactive)
	})
}

// MayDelete asks AWS whether these credentials may delete keys of a user, as MaySetActive does.
func (w *Writer) MayDelete(ctx context.Context, user string) error {
	doing := fmt.Sprintf("check the permission to delete keys of user %q", user)
	return w.may(ctx, actionDeleteKey, doing, user, func() error { return w.remove(ctx, user, preflightKey) })
}

func (w *Writer) may(ctx context.Context, action, doing, user string, call func() error) error {
	if err := w.nameless(ctx, action, doing, user); err != nil {
		return err
	}
	err := call()
	switch {
	case err == nil:
		return w.unusable(ctx, action, doing, user, "AWS says that it changed key %q, which cannot exist", preflightKey)
	case errors.Is(kindOf(err), ErrNotFound):
		return nil
	default:
		return w.fail(ctx, action, doing, user, err)
	}
}
