import { Button, Group, Modal } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Failure } from '../../shared/ui/Answer';

interface RevokeProps {
  what: string;
  words: string;
  verb: string;
  act: () => Promise<unknown>;
  refresh: string[];
}

/** Takes something back, after asking once. */
export function Revoke({ what, words, verb, act, refresh }: RevokeProps) {
  const [open, modal] = useDisclosure(false);
  const client = useQueryClient();
  const take = useMutation({
    mutationFn: act,
    onSuccess: async () => {
      modal.close();
      await client.invalidateQueries({ queryKey: refresh });
    },
  });
  return (
    <>
      <Button variant="subtle" size="compact-sm" onClick={modal.open} aria-label={`${verb} ${what}`}>
        {verb}…
      </Button>
      <Modal opened={open} onClose={modal.close} title={`${verb} ${what}?`} centered closeButtonProps={{ 'aria-label': 'Close' }}>
        <p>{words}</p>
        {take.error && (
          <div className="form-failure">
            <Failure failure={take.error} />
          </div>
        )}
        <Group justify="flex-end" mt={20}>
          <Button variant="default" onClick={modal.close}>
            Cancel
          </Button>
          <Button color="alarm" loading={take.isPending} onClick={() => take.mutate()}>
            {verb}
          </Button>
        </Group>
      </Modal>
    </>
  );
}
