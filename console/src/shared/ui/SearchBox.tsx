import { TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { useEffect, useState } from 'react';
import { Icon } from './Icon';

interface SearchBoxProps {
  label: string;
  value: string;
  onSearch: (text: string) => void;
  className?: string;
}

/** A field that asks the server when somebody stops typing; its text lives in the address. */
export function SearchBox({ label, value, onSearch, className = 'search-box' }: SearchBoxProps) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const ask = useDebouncedCallback(onSearch, 300);
  return (
    <TextInput
      className={className}
      aria-label={label}
      placeholder={label}
      maxLength={200}
      leftSection={<Icon name="search" />}
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value);
        ask(event.currentTarget.value);
      }}
    />
  );
}
