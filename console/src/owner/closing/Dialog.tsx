import { Modal } from '@mantine/core';
import type { ReactNode } from 'react';

interface DialogProps {
  title: string;
  opened: boolean;
  onClose: () => void;
  wide?: boolean;
  children: ReactNode;
}

/** A dialogue whose title is a heading of its own: a page has one banner, and this is none. */
export function Dialog({ title, opened, onClose, wide = false, children }: DialogProps) {
  return (
    <Modal.Root opened={opened} onClose={onClose} size={wide ? 'lg' : 'md'} centered>
      <Modal.Overlay />
      <Modal.Content>
        <Modal.Body pt="md">
          <Modal.Title className="closing-title">{title}</Modal.Title>
          {children}
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
